# The images of rejoin. The bases are arguments: give your own mirrors, or pinned digests.
#
#   docker build -t rejoin .                        production: the service and its commands
#   docker build -t rejoin-demo --target demo .     the demo and the simulated 100ms as well
ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# `dist` is what is deployed; `dev` builds in a fraction of the time, to try the images themselves.
ARG PROFILE=dist
# Without line tables: they would be stripped below.
ENV CARGO_PROFILE_DIST_DEBUG=false CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0
WORKDIR /build
# The dependencies alone: this layer is reused as long as they stay the same.
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY crates/embedded-postgres/Cargo.toml crates/embedded-postgres/build.rs crates/embedded-postgres/
COPY crates/hms-sim/Cargo.toml crates/hms-sim/
RUN mkdir -p migrations src tests/it benches/bench \
    crates/embedded-postgres/src/bin crates/hms-sim/src/bin crates/hms-sim/tests/it \
 && touch src/lib.rs tests/it/main.rs benches/bench/main.rs \
    crates/embedded-postgres/src/lib.rs crates/hms-sim/src/lib.rs crates/hms-sim/tests/it/main.rs \
 && for main in src/main.rs crates/embedded-postgres/src/bin/embedded-postgres.rs crates/hms-sim/src/bin/hms-sim.rs; do \
      echo 'fn main() {}' > "$main"; done \
 && cargo build --locked --package rejoin --no-default-features --features otel --profile "$PROFILE"
COPY . .
# Files keep their dates when they are copied, and may be older than those of the layer before.
RUN find build.rs src crates -name '*.rs' -exec touch {} + \
 && cargo build --locked --package rejoin --no-default-features --features otel --profile "$PROFILE" \
 && strip -o /rejoin "target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/rejoin"

# With the demo: on top of the build above, so that the dependencies of both are compiled once.
FROM build AS build-demo
ARG PROFILE=dist
RUN cargo build --locked --package rejoin --profile "$PROFILE" \
 && strip -o /rejoin "target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/rejoin"

FROM ${RUNTIME_IMAGE} AS runtime
# 100ms is reached over TLS, and its certificate is checked against these.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*)
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin rejoin
USER 10001
ENV REJOIN_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["rejoin"]

FROM runtime AS demo
COPY --from=build-demo /rejoin /usr/local/bin/rejoin
CMD ["sim", "--listen=0.0.0.0:8100"]
EXPOSE 8100

FROM runtime AS production
COPY --from=build /rejoin /usr/local/bin/rejoin
# Whether it is live. It is not ready while the database is away, which a restart would not change.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["rejoin", "healthcheck"]
CMD ["serve"]
