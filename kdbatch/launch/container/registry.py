"""Asks a registry for the digest that a tag of an image has now, as container/build does too.

`python -m kdbatch.launch.container.registry docker://HOST/NAME:TAG` prints the name with it.
"""

import hashlib
import http.client
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.reading.documents import parse_json_object
from kdbatch.vocab.jobs.images import image_reference

ANSWER_SECONDS = 10
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.v2",
    )
)
# How a registry asks for a token, which everybody gets for an image that is public.
CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')
FAILURES = (OSError, UserError, ValueError, http.client.HTTPException, subprocess.TimeoutExpired)


def digest_of(name: str, tag: str) -> str:
    """The sha256 of the manifest that HOST/NAME:TAG names now; empty where it is not known.

    A name without a host is the business of the container's runtime: skopeo is asked, if there is
    one.
    """
    host, _, path = name.partition("/")
    try:
        if path and re.search(r"[.:]|^localhost$", host):
            return hashlib.sha256(_manifest(host, path, tag)).hexdigest()
        return _by_skopeo(f"docker://{name}:{tag}")
    except FAILURES:
        return ""


def _manifest(host: str, path: str, tag: str) -> bytes:
    is_local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    url = f"{'http' if is_local else 'https'}://{host}/v2/{path}/manifests/{tag}"
    try:
        return _get(url)
    except urllib.error.HTTPError as error:
        asked = dict(CHALLENGE.findall(error.headers.get("WWW-Authenticate", "")))
        realm = asked.pop("realm", "")
        if error.code != 401 or not realm.startswith("https://"):
            raise
        text = _get(f"{realm}?{urllib.parse.urlencode(asked)}")
        answer = parse_json_object(text, where=realm)
        return _get(url, token=str(answer.get("token") or answer.get("access_token")))


def _get(url: str, *, token: str = "") -> bytes:
    headers = {"Accept": MANIFESTS} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return answer.read(2**24)


def _by_skopeo(reference: str) -> str:
    if not shutil.which("skopeo"):
        return ""
    command = ["skopeo", "inspect", "--format", "{{.Digest}}", reference]
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=6 * ANSWER_SECONDS, check=False
    )
    found = re.search(r"\bsha256:([0-9a-f]{64})\b", said.stdout)
    return found[1] if found and not said.returncode else ""


if __name__ == "__main__":
    asked_for = image_reference(sys.argv[1])
    assert asked_for, "docker://NAME:TAG"
    found_digest = digest_of(asked_for.name, asked_for.tag or "latest")
    if found_digest:
        sys.stdout.write(f"{visible(asked_for.name)}@sha256:{found_digest}\n")
    sys.exit(not found_digest)
