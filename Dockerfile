# Two images from one file:
#   (the last stage, default)  the four programs on nothing at all, as an unprivileged user
#   --target init              the same programs beside psql and a shell, for the one-shot that prepares a database

FROM golang:1.26.4-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Static: no C library to match, nothing to load at run time.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/bin/ ./cmd/ingest ./cmd/keys ./cmd/recover \
 && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/bin/demo ./cmd/demo/walkthrough
# What scratch lacks and the programs need: a user to be, its name for the audit log, and a directory for spooled openings.
RUN mkdir -p /out/etc /out/tmp \
 && echo 'cloakroom:x:65532:65532:cloakroom:/tmp:/sbin/nologin' > /out/etc/passwd \
 && echo 'cloakroom:x:65532:' > /out/etc/group \
 && chmod 1777 /out/tmp

FROM postgres:17-bookworm AS init
COPY --from=build /out/bin/ /usr/local/bin/
COPY deploy/compose/init.sh /usr/local/bin/cloakroom-init
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/cloakroom-init"]

FROM scratch
# KMS and SQS speak TLS, and scratch has no certificate authorities. No time zones: everything is UTC.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/etc/ /etc/
COPY --from=build /out/tmp/ /tmp/
COPY --from=build /out/bin/ /usr/local/bin/
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/ingest"]
