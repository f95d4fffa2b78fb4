//! Every query of `docs/admin-sql.md`, run as the roles of `docs/operations.md` on odd rows, and
//! the views.

mod odd_rows;
mod pages;
mod roles;
mod views;
