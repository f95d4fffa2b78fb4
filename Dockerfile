# The image of rejoin. The bases are arguments: give your own mirrors, or pinned digests.
ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# `dev` builds in half the time, to try the image itself; what is deployed is `release`.
ARG PROFILE=release
# Without line tables: they would be stripped below.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0
WORKDIR /build
# The dependencies alone: this layer stays as long as they do.
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
RUN mkdir -p src migrations tests/it benches/bench \
 && touch src/lib.rs tests/it/main.rs benches/bench/main.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --locked --profile "$PROFILE"
COPY . .
# Files keep their dates when they are copied, which may be older than those of the layer before.
RUN touch build.rs src/lib.rs src/main.rs \
 && cargo build --locked --profile "$PROFILE" \
 && strip -o /rejoin "target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/rejoin"

FROM ${RUNTIME_IMAGE}
# 100ms is reached over TLS, and is checked against these.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*)
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin rejoin
COPY --from=build /rejoin /usr/local/bin/rejoin
USER 10001
ENV REJOIN_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["rejoin", "healthcheck"]
ENTRYPOINT ["rejoin"]
CMD ["serve"]
