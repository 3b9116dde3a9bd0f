#!/usr/bin/env bash
# Makes the keys and signatures of this folder with openssl(1), independent of the code that they test. The private keys
# are not kept. Run by hand, in this folder; then commit what changed.
set -euo pipefail
cd "$(dirname "$0")"
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT

key() { # NAME GENPKEY-OPTIONS...
  local name=$1
  shift
  openssl genpkey "$@" -out "$secrets/$name.pem" 2>/dev/null
  openssl pkey -in "$secrets/$name.pem" -pubout -out "$name.pub"
}
key p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key other -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
key p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521
key explicit -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit
key rsa1024 -algorithm RSA -pkeyopt rsa_keygen_bits:1024
key rsa2048 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
key rsa3072 -algorithm RSA -pkeyopt rsa_keygen_bits:3072
key rsapss -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048
key ed25519 -algorithm ED25519
key ed448 -algorithm ED448

# What cosign signs for registry.example.com/acme/builder, byte for byte: no line end.
printf '{"critical":{"identity":{"docker-reference":"registry.example.com/acme/builder"},"image":{"docker-manifest-digest":"sha256:%s"},"type":"cosign container image signature"},"optional":null}' \
  0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef >payload.json
for name in p256 other p384 p521 rsa1024 rsa2048 rsa3072; do
  openssl dgst -sha256 -sign "$secrets/$name.pem" payload.json | base64 -w0 >"$name.sig"
done
openssl pkeyutl -sign -rawin -in payload.json -inkey "$secrets/ed25519.pem" | base64 -w0 >ed25519.sig
for name in *.pub; do
  openssl pkey -pubin -in "$name" -outform DER | openssl dgst -sha256 -r | sed "s/ .*/ ${name%.pub}/"
done >fingerprints
