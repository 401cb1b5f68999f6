"""What a bill of materials (SPDX 2.3, JSON) must say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

IDENTIFIER = re.compile(r"SPDXRef-[A-Za-z0-9.-]+\Z")
PURL = re.compile(r"pkg:deb/debian/[a-z0-9.%B-]+@[A-Za-z0-9.~%-]+\?arch=\w+&distro=debian-\d+\Z")


def check(document: dict[str, Any], program: Path) -> None:
    """It is complete, refers to nothing that is not in it, and is about this very program."""
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["dataLicense"] == "CC0-1.0"
    assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
    described, *packages = document["packages"]
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    assert described["checksums"] == [{"algorithm": "SHA256", "checksumValue": digest}]
    assert digest in document["documentNamespace"]
    known = [document["SPDXID"], *(package["SPDXID"] for package in document["packages"])]
    assert len(known) == len(set(known))
    assert all(IDENTIFIER.match(identifier) for identifier in known)
    for relation in document["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= set(known)
    assert len(document["relationships"]) == len(document["packages"])
    names = {package["name"] for package in packages}
    assert {"librdkafka1", "libpq5", "libc6", "libjansson4"} <= names
    for package in packages:
        assert package["versionInfo"]
        (reference,) = package["externalRefs"]
        assert PURL.match(reference["referenceLocator"]), reference
