# The image of elasticweb-apiserver: one static binary, for amd64 and arm64, that runs as nobody.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY apis apis
COPY cmd cmd
COPY pkg pkg
ARG TARGETOS TARGETARCH VERSION=v0.5.0
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X elasticweb.example.com/pkg/options.buildVersion=$VERSION" -o /elasticweb-apiserver ./cmd/elasticweb-apiserver

FROM gcr.io/distroless/static:nonroot
COPY --from=build /elasticweb-apiserver /elasticweb-apiserver
ENTRYPOINT ["/elasticweb-apiserver"]
