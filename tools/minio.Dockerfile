# The chart's small MinIO. Built by `tools/build-images VERSION minio` in a folder that holds the binary.
FROM debian:trixie-slim
COPY --chmod=0755 minio /usr/bin/minio
USER 65532:65532
EXPOSE 9000
ENTRYPOINT ["/usr/bin/minio"]
