# syntax=docker/dockerfile:1
# `make image` does without a container engine, and makes an image of nothing but the binary, the same to the byte wherever it runs.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY apis apis
COPY cmd cmd
COPY pkg pkg
ARG TARGETOS TARGETARCH VERSION=v0.5.0
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -ldflags "-s -w -X elasticweb.example.com/pkg/options.buildVersion=$VERSION" -o /elasticweb-apiserver ./cmd/elasticweb-apiserver

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /elasticweb-apiserver /elasticweb-apiserver
USER 65532:65532
ENTRYPOINT ["/elasticweb-apiserver"]
