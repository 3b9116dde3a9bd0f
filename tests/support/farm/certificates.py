"""A throw-away certificate authority made with the openssl program: one key for all, one certificate for each kind."""
import pathlib
import subprocess

SECONDS = 30
CONFIG = """
[ca]
default_ca = farm
[farm]
database = {work}/index.txt
new_certs_dir = {work}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


def alternative_names(names):
    def is_address(name):
        return ":" in name or name.replace(".", "").isdigit()
    return ", ".join(("IP:" if is_address(name) else "DNS:") + name for name in names)


class Authority:
    """Files of folder: ca.pem, key.pem, and KIND.pem for each kind of KINDS."""
    KINDS = ("good", "self-signed", "wrong-name", "expired", "not-yet-valid", "other-ca")

    def __init__(self, folder, names):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names = names
        self.key = self.folder / "key.pem"
        self.ca = self.folder / "ca.pem"
        self._make_key(self.key)
        self._make_authority("ca")

    def _openssl(self, *arguments):
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            raise SystemExit(f"upstream_farm: error: {' '.join(command)}: {done.stderr}")

    def _make_key(self, path):
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def _config(self, names):
        path = self.folder / "openssl.cnf"
        path.write_text(CONFIG.format(work=self.folder, names=alternative_names(names)))
        return path

    def _make_authority(self, name):
        key = self.folder / f"{name}-key.pem"
        self._make_key(key)
        self._openssl("req", "-x509", "-new", "-key", key, "-out", self.folder / f"{name}.pem", "-days", 30,
                      "-subj", f"/CN=Cleanroom test {name}", "-config", self._request_config(), "-extensions", "authority")

    def _request_config(self):
        path = self.folder / "request.cnf"
        path.write_text("[req]\ndistinguished_name = dn\n[dn]\n" + CONFIG.format(work=self.folder, names="DNS:none.invalid"))
        return path

    def certificate(self, kind):
        """The path of a certificate of that kind; its key is self.key."""
        if kind not in self.KINDS:
            raise SystemExit(f"upstream_farm: error: no certificate kind '{kind}': one of {', '.join(self.KINDS)}")
        path = self.folder / f"{kind}.pem"
        if path.exists():
            return path
        names = ["wrong-name.invalid"] if kind == "wrong-name" else self.names
        if kind == "self-signed":
            self._openssl("req", "-x509", "-new", "-key", self.key, "-out", path, "-days", 30, "-subj", f"/CN={names[0][:60]}",
                          "-addext", "subjectAltName=" + alternative_names(names))
            return path
        signer = "ca"
        if kind == "other-ca":
            signer = "stranger"
            self._make_authority(signer)
        start, end = {"expired": ("20200101000000Z", "20200201000000Z"),
                      "not-yet-valid": ("20480101000000Z", "20490101000000Z")}.get(kind, ("20200101000000Z", "20480101000000Z"))
        request = self.folder / "request.pem"
        self._openssl("req", "-new", "-key", self.key, "-out", request, "-subj", f"/CN={names[0][:60]}", "-config", self._request_config())
        (self.folder / "index.txt").write_text("")
        self._openssl("ca", "-batch", "-notext", "-config", self._config(names), "-extensions", "leaf", "-in", request, "-out", path,
                      "-cert", self.folder / f"{signer}.pem", "-keyfile", self.folder / f"{signer}-key.pem",
                      "-startdate", start, "-enddate", end)
        return path
