#!/bin/sh
# Makes the *.pb.go anew from all *.proto. Needs protoc (Debian: protobuf-compiler).
set -eu
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -r "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PATH=$bin:$PATH protoc --go_out=. --go_opt=paths=source_relative proto/*.proto
