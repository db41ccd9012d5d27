#!/bin/sh
# Makes the certificates of the tests again, next to this script. They are valid until 2056; the keys are public,
# so they protect nothing. Needs OpenSSL 3.
set -eu
cd "$(dirname "$0")"

from=20260101000000Z
until=20560101000000Z
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new_key() {
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# leaf_cert <name> <common name> <extensions>: a key and a certificate that the CA signed.
leaf_cert() {
    new_key "$1-key.pem"
    printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' "$3" > "$work/ext"
    openssl req -new -key "$1-key.pem" -subj "/O=Petiole tests/CN=$2" -out "$work/csr"
    openssl ca -batch -notext -config "$work/ca.cnf" -extfile "$work/ext" -in "$work/csr" -out "$1.pem"
}

: > "$work/index"
cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = this
[this]
database = $work/index
new_certs_dir = $work
rand_serial = yes
unique_subject = no
certificate = ca.pem
private_key = ca-key.pem
default_md = sha256
default_startdate = $from
default_enddate = $until
policy = any
[any]
organizationName = supplied
commonName = supplied
CNF

new_key ca-key.pem
printf '%s\n' 'basicConstraints=critical,CA:TRUE' 'keyUsage=critical,keyCertSign,cRLSign' > "$work/ext"
openssl req -new -key ca-key.pem -subj "/O=Petiole tests/CN=Petiole test CA" -out "$work/csr"
openssl ca -batch -notext -config "$work/ca.cnf" -selfsign -extfile "$work/ext" -in "$work/csr" -out ca.pem

leaf_cert server localhost "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1')"
leaf_cert other other.example "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:other.example')"
leaf_cert client client "$(printf 'extendedKeyUsage=clientAuth\nsubjectAltName=DNS:client.example')"

# Clients who are told by what is in their certificates.
# named_cert <name> <subject> <extensions>
named_cert() {
    new_key "$1-key.pem"
    printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'extendedKeyUsage=clientAuth' "$3" > "$work/ext"
    openssl req -new -key "$1-key.pem" -subj "$2" -out "$work/csr"
    openssl x509 -req -in "$work/csr" -CA ca.pem -CAkey ca-key.pem -days 10950 -extfile "$work/ext" -out "$1.pem"
}
named_cert mail '/O=Petiole tests/CN=mail' 'subjectAltName=email:who@mail.example,URI:spiffe://petiole/mail'
named_cert uri '/O=Petiole tests/CN=uri' 'subjectAltName=URI:spiffe://petiole/uri'
named_cert subject '/DC=example/DC=petiole/O=Petiole tests/OU=a, b/CN=subject' ''
named_cert nobody '/O=Petiole tests/CN=nobody' ''

# A client whose certificate no authority here has signed; the key belongs to no other certificate.
new_key stray-key.pem
printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'extendedKeyUsage=clientAuth' > "$work/ext"
openssl req -new -key stray-key.pem -subj "/O=Petiole tests/CN=stray" -out "$work/csr"
openssl ca -batch -notext -config "$work/ca.cnf" -selfsign -keyfile stray-key.pem -extfile "$work/ext" -in "$work/csr" \
    -out stray.pem
