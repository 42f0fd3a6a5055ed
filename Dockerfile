# The binary, and nothing else that is not needed to run it.
#   docker build -t millstream .
#   docker run --rm -v "$PWD:/pipelines" millstream run pipelines/taxi_trips.yaml
FROM rust:1.95-slim-trixie AS build
# A C compiler, for the embedded database and the allocator.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ cmake make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Panics name their place without debug information, too.
RUN cargo build --release --locked --package millstream && strip --strip-debug target/release/millstream

FROM debian:trixie-slim
# Roots of trust, for HTTPS.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/millstream /usr/local/bin/millstream
# Pipeline files, local inputs and outputs, and checkpoints that are not kept on S3.
WORKDIR /pipelines
RUN useradd --uid 10001 millstream && chown millstream /pipelines
USER millstream
# SIGTERM finishes what is in flight and takes a last checkpoint: give it time (`docker stop --time 60`).
ENTRYPOINT ["millstream"]
CMD ["--help"]
