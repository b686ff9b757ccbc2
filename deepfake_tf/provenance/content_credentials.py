"""Content Credentials: signed statements on an image's origin (C2PA 2.2), checked by c2pa-python.

Three things are told apart. A credential is tampered with when the hashes or the signature no longer fit: the
image or the statement was changed after signing. It is by an unknown signer when all of that fits but the
certificate leads to nobody on the trust list: anybody can sign as "OpenAI". Only what is intact and by a
known signer is valid. Which certificates are known is a list that its keepers change, so none comes with
this package; the C2PA's own is https://github.com/c2pa-org/conformance-public (trust-list/C2PA-TRUST-LIST.pem).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from deepfake_tf.provenance.digital_source_type import origin_of
from deepfake_tf.provenance.findings import (
    AI_EDITED,
    CAPTURED,
    DECLARED,
    GENERATED,
    HINT,
    SIGNED,
    UNKNOWN,
    Finding,
    clean,
)

TRUST_LIST_VARIABLE = "DEEPFAKE_TF_TRUST_LIST"
INSTALL_ADVICE = "install c2pa-python to check it: pip install 'deepfake-tf[provenance]'"

# What a claim signer's certificate may be issued for (C2PA 2.2, section 14.5.1): signing claims, documents, e-mail.
_SIGNING_PURPOSES = "1.3.6.1.4.1.62558.2.1\n1.3.6.1.5.5.7.3.36\n1.3.6.1.5.5.7.3.4\n1.3.6.1.4.1.311.76.59.1.9"
_CONTENT_MISMATCHES = {"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch"}
_CLAIM_MISMATCHES = {
    "assertion.hashedURI.mismatch",
    "assertion.missing",
    "claimSignature.mismatch",
    "claimSignature.missing",
    "ingredient.hashedURI.mismatch",
}
_CLAIMS = {
    GENERATED: " that says it was generated",
    AI_EDITED: " that says it was edited with AI",
    CAPTURED: " that says it was captured by a camera",
    UNKNOWN: "",
}
_UNREADABLE = "Carries a Content Credential that cannot be read."
_DEPTH = 8  # of manifests within manifests: an image edited that often is an edited image
_SOURCE_TYPES = re.compile(rb"digitalsourcetype/([A-Za-z]{5,60})")


class TrustListError(ValueError):
    """The user's list of certificates is at fault, not a file."""


def read_findings(
    stream: BinaryIO, image_format: str, trust_list: str | Path | None = None, fetch_remote: bool = False
) -> list[Finding]:
    """Check the Content Credential of a file.

    Args:
        stream: seekable; the file.
        image_format: one of "JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC".
        trust_list: a PEM file of the certificates whose signers count as known. Default: the one that the
            environment variable `DEEPFAKE_TF_TRUST_LIST` names; without any, no signer is known.
        fetch_remote: whether a credential that the file only links to is fetched from that address, which the
            file's maker chose. Without it, nothing is ever asked of the network.

    Returns:
        One finding on the credential, whose `status` tells how it stands; and one on the actions it lists.

    Raises:
        ImportError: c2pa-python is not installed. The message names the remedy.
        TrustListError: the trust list cannot be read, or holds no certificate.
    """
    try:
        import c2pa
    except ImportError as error:
        raise ImportError(INSTALL_ADVICE) from error
    trust_anchors = _read_trust_list(trust_list)
    context = _context(trust_anchors, fetch_remote)
    stream.seek(0)
    try:
        with context, c2pa.Reader(f"image/{image_format.lower()}", stream, context=context) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError as error:
        remote = re.search(r"must fetch remote manifests from url (\S+)", str(error))
        if remote:
            return [remote_finding(remote[1])]
        return [Finding("C2PA", _UNREADABLE, HINT, UNKNOWN, clean(str(error)), "invalid")]
    except (ValueError, RecursionError) as error:  # what it reports is no JSON, or is nested without end
        return [Finding("C2PA", _UNREADABLE, HINT, UNKNOWN, clean(f"{type(error).__name__}: {error}"), "invalid")]
    return _findings_of_store(store, has_trust_list=bool(trust_anchors))


def check_trust_list(trust_list: str | Path | None = None) -> None:
    """Whether the trust list can be read; before the first file of many.

    Args:
        trust_list: as for `read_findings`.

    Raises:
        TrustListError: it cannot be read, or holds no certificate.
    """
    trust_anchors = _read_trust_list(trust_list)
    if trust_anchors and importlib.util.find_spec("c2pa"):
        _context(trust_anchors, fetch_remote=False).close()


def empty_finding() -> Finding:
    """What can be said of a credential without a byte in it."""
    return Finding("C2PA", "Carries an empty Content Credential, which says nothing.", HINT, UNKNOWN, "", "invalid")


def unchecked_finding(credential_bytes: bytes, reason: str) -> Finding:
    """What can be said of a credential without checking it: that it is there, and which source types it names.

    Args:
        credential_bytes: bytes. The (start of the) manifest store.
        reason: why it was not checked.
    """
    terms = sorted({term.decode() for term in _SOURCE_TYPES.findall(credential_bytes)})
    named = {origin_of(term)[0] for term in terms}
    says = next((origin for origin in (GENERATED, AI_EDITED, CAPTURED) if origin in named), UNKNOWN)
    statement = f"Carries a Content Credential{_CLAIMS[says]}; it was not checked: {reason}."
    return Finding("C2PA", statement, HINT, says, clean(", ".join(terms)), "unchecked")


def remote_finding(address: str) -> Finding:
    """What can be said of a credential that the file only links to: where it is said to be."""
    statement = "Points to a Content Credential elsewhere, which was not fetched."
    return Finding("C2PA", statement, HINT, UNKNOWN, clean(address), "remote")


def _context(trust_anchors: str, fetch_remote: bool):
    """The SDK's settings, loaded."""
    import c2pa

    try:
        return c2pa.Context.from_dict(_settings(trust_anchors, fetch_remote))
    except c2pa.C2paError as error:
        raise TrustListError(f"The trust list's certificates cannot be read ({clean(str(error))})") from error


def _read_trust_list(trust_list: str | Path | None) -> str:
    path = trust_list or os.environ.get(TRUST_LIST_VARIABLE)
    if not path:
        return ""
    try:
        pem = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustListError(f"The trust list cannot be read. Received: {path} ({error})") from error
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise TrustListError(f"The trust list must be a PEM file with at least one certificate. Received: {path}")
    return pem


def _settings(trust_anchors: str, fetch_remote: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "verify": {"verify_trust": True, "ocsp_fetch": False, "remote_manifest_fetch": fetch_remote},
        "core": {"decode_identity_assertions": False},  # resolving identities asks the network
    }
    if not fetch_remote:
        settings["core"]["allowed_network_hosts"] = []
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors, "trust_config": _SIGNING_PURPOSES}
    return settings


def _findings_of_store(store: dict[str, Any], has_trust_list: bool) -> list[Finding]:
    manifests = _dict(store.get("manifests"))
    active = str(store.get("active_manifest", ""))
    manifest = _dict(manifests.get(active))
    failures = _failures(_dict(store.get("validation_results")))
    state = str(store.get("validation_state", ""))
    status = _status(state, failures)
    # Where the credential itself was changed, its very statement may be what was changed.
    says = UNKNOWN if failures & _CLAIM_MISMATCHES else _origin_of_manifest(manifests, active, {})

    signature = _dict(manifest.get("signature_info"))
    signer = clean(str(signature.get("issuer") or signature.get("common_name") or "an unnamed signer"), 80)
    named = f"a Content Credential in the name of {signer}{_CLAIMS[says]}"
    statement, strength = {
        "valid": (f"Carries a valid Content Credential from {signer}{_CLAIMS[says]}.", SIGNED),
        "unknown_signer": (
            f"Carries {named}; it is intact, but "
            + (
                "the signer is not on the trust list."
                if has_trust_list
                else "without a trust list anybody may be the signer."
            ),
            DECLARED,
        ),
        "tampered": (
            f"Carries {named}, but {'the image' if failures & _CONTENT_MISMATCHES else 'the credential'} "
            "was changed after signing.",
            HINT,
        ),
        "invalid": (f"Carries {named} that is not valid ({', '.join(sorted(failures)) or state}).", HINT),
    }[status]
    raw = {
        "validation": state,
        "failures": sorted(failures),
        "signer": signer,
        "certificate": signature.get("common_name"),
        "time": signature.get("time"),
    }
    findings = [Finding("C2PA", clean(statement), strength, says, clean(json.dumps(raw)), status)]
    actions = _actions(manifest)
    generator = clean(_generator(manifest), 80) or "an unnamed program"
    statement = f"Its claim was written by {generator}"
    if actions:
        statement += f", with the actions {'; '.join(map(_action_words, actions))}"
    return [
        *findings,
        Finding("C2PA claim", f"{clean(statement)}.", strength, says, clean(json.dumps(actions)), status),
    ]


def _failures(results: dict[str, Any]) -> set[str]:
    """The codes of what failed (C2PA 2.2, section 15.2), of the credential and of those that it builds on."""
    deltas = [_dict(_dict(delta).get("validationDeltas")) for delta in _list(results.get("ingredientDeltas"))]
    return {
        str(_dict(failure).get("code"))
        for part in [_dict(results.get("activeManifest")), *deltas]
        for failure in _list(part.get("failure"))
    }


def _status(state: str, failures: set[str]) -> str:
    if failures & (_CONTENT_MISMATCHES | _CLAIM_MISMATCHES):
        return "tampered"
    # The SDK's "Valid" is what is intact, whoever signed it; "Trusted" is that and a signer on the trust list.
    return {"Trusted": "valid", "Valid": "unknown_signer"}.get(state, "invalid")


def _origin_of_manifest(manifests: dict[str, Any], label: str, known: dict[str, str], depth: int = 0) -> str:
    """What a manifest and those that it builds on say.

    `known` holds the answers so far, of the manifests under way "unknown": a file may list the same ingredient a
    hundred times a level, or in a circle, and each is looked at once.

    What the image was made from (`parentOf`) hands its origin down; a generated part of it (`componentOf`)
    makes it an edited image; what it was only an input to a model (`inputTo`) says nothing.
    """
    manifest = _dict(manifests.get(label))
    if depth == _DEPTH or not manifest:
        return UNKNOWN
    if label not in known:
        known[label] = UNKNOWN
        known[label] = _origin_of_one(manifests, manifest, known, depth)
    return known[label]


def _origin_of_one(manifests: dict[str, Any], manifest: dict[str, Any], known: dict[str, str], depth: int) -> str:
    own = [
        (str(action.get("action")), origin_of(str(action.get("digitalSourceType", "")))[0])
        for action in _actions(manifest)
    ]
    parents, components = set(), set()
    for ingredient in _list(manifest.get("ingredients"))[:100]:
        ingredient = _dict(ingredient)
        origin = _origin_of_manifest(manifests, str(ingredient.get("active_manifest", "")), known, depth + 1)
        if ingredient.get("relationship") == "parentOf":
            parents.add(origin)
        elif ingredient.get("relationship") == "componentOf":
            components.add(origin)
    origins = {origin for _, origin in own}
    if ("c2pa.created", GENERATED) in own or GENERATED in parents:
        return GENERATED
    if AI_EDITED in origins | parents or {GENERATED, AI_EDITED} & components or (GENERATED in origins and parents):
        return AI_EDITED
    return next((origin for origin in (GENERATED, CAPTURED) if origin in origins | parents), UNKNOWN)


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _dict(action)
        for assertion in _list(manifest.get("assertions"))
        if str(_dict(assertion).get("label", "")).startswith("c2pa.actions")
        for action in _list(_dict(_dict(assertion).get("data")).get("actions"))
    ]


def _action_words(action: dict[str, Any]) -> str:
    agent = action.get("softwareAgent")
    agent = _dict(agent).get("name", "") if isinstance(agent, dict) else agent
    kind = str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1]
    extras = ", ".join(filter(None, [kind, f"by {agent}" if agent else ""]))
    return str(action.get("action", "unnamed")) + (f" ({extras})" if extras else "")


def _generator(manifest: dict[str, Any]) -> str:
    information = _list(manifest.get("claim_generator_info"))
    names = [" ".join(str(_dict(part).get(key, "")) for key in ("name", "version")).strip() for part in information]
    return ", ".join(filter(None, names)) or str(manifest.get("claim_generator", ""))


def _dict(value: Any) -> dict[str, Any]:
    """The value if it is what it should be: the manifest's JSON is the file's word, and may hold anything."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
