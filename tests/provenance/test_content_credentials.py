"""Content Credentials, signed here with certificates made here, then broken in each of the ways they break."""

from __future__ import annotations

import http.server
import sys
import threading

import pytest

pytest.importorskip("c2pa", reason="c2pa-python is not installed: pip install 'deepfake-tf[provenance]'")

from deepfake_tf.provenance import inspect, summarise
from tests.provenance.metadata_files import PARAMETERS, encode, png_with
from tests.provenance.signing import Signer

MIME_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer("OpenAI")


@pytest.fixture(scope="module")
def trust_list(signer, tmp_path_factory):
    path = tmp_path_factory.mktemp("trust") / "trust_list.pem"
    path.write_text(signer.root_pem)
    return path


@pytest.fixture(scope="module")
def signed(signer) -> bytes:
    return signer.sign(encode("PNG"), "image/png", "trainedAlgorithmicMedia", generator="ChatGPT")


@pytest.fixture(autouse=True)
def no_trust_list_of_the_machine(monkeypatch):
    monkeypatch.delenv("DEEPFAKE_TF_TRUST_LIST", raising=False)


def credential_of(report):
    (credential,) = [finding for finding in report.findings if finding.source == "C2PA"]
    return credential


@pytest.mark.parametrize("file_format", MIME_TYPES)
def test_a_known_signer_is_valid_in_every_format(signer, trust_list, file_format):
    image = signer.sign(encode(file_format), MIME_TYPES[file_format], "trainedAlgorithmicMedia")
    report = inspect(image, trust_list=trust_list)
    credential = credential_of(report)
    assert (credential.status, credential.strength, credential.says) == ("valid", "signed", "generated")
    assert (report.format, report.width, report.height, report.error) == (file_format, 40, 30, "")
    assert summarise(report, "out of domain") == (
        "The file carries a valid Content Credential from OpenAI that says it was generated. Pixels: out of domain."
    )


def test_the_trust_list_may_come_from_the_environment(signed, trust_list, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_TF_TRUST_LIST", str(trust_list))
    assert credential_of(inspect(signed)).status == "valid"


@pytest.mark.parametrize("with_list", [False, True])
def test_anybody_can_sign_as_openai(trust_list, with_list):
    forged = Signer("OpenAI").sign(encode("PNG"), "image/png", "digitalCapture")
    credential = credential_of(inspect(forged, trust_list=trust_list if with_list else None))
    assert (credential.status, credential.strength) == ("unknown_signer", "declared")
    assert "intact" in credential.statement
    assert ("not on the trust list" if with_list else "without a trust list") in credential.statement


def test_a_changed_pixel_is_tampering(signed, trust_list):
    changed = bytearray(signed)
    changed[signed.rfind(b"IDAT") + 20] ^= 1
    credential = credential_of(inspect(bytes(changed), trust_list=trust_list))
    assert (credential.status, credential.strength, credential.says) == ("tampered", "hint", "generated")
    assert "the image was changed after signing" in credential.statement
    assert "assertion.dataHash.mismatch" in credential.raw


def test_a_broken_credential_does_not_hide_other_evidence(trust_list, signer):
    signed = signer.sign(png_with(parameters=PARAMETERS), "image/png", "trainedAlgorithmicMedia")
    changed = bytearray(signed)
    changed[signed.rfind(b"IDAT") + 20] ^= 1
    report = inspect(bytes(changed), trust_list=trust_list)
    assert report.findings[0].source == "PNG text 'parameters'"  # the weightiest
    assert report.summary.startswith("The file carries a Content Credential in the name of OpenAI")
    assert report.summary.endswith("The file also says that it was generated (PNG text 'parameters').")


def test_a_changed_statement_is_tampering_and_says_nothing(signed, trust_list):
    report = inspect(signed.replace(b"trainedAlgorithmicMedia", b"digitalCapture/////////"), trust_list=trust_list)
    credential = credential_of(report)
    assert (credential.status, credential.strength, credential.says) == ("tampered", "hint", "unknown")
    assert "the credential was changed after signing" in credential.statement


@pytest.mark.parametrize(
    ("source_type", "says"),
    [
        ("trainedAlgorithmicMedia", "generated"),
        ("compositeWithTrainedAlgorithmicMedia", "ai_edited"),
        ("digitalCapture", "captured"),
        ("digitalCreation", "unknown"),
    ],
)
def test_the_source_type_decides_what_it_says(signer, source_type, says):
    report = inspect(signer.sign(encode("JPEG"), "image/jpeg", source_type, generator="Tool"))
    assert credential_of(report).says == says
    (claim,) = [finding for finding in report.findings if finding.source == "C2PA claim"]
    assert "Tool 1.0" in claim.statement
    assert f"c2pa.created ({source_type}, by Tool)" in claim.statement


def test_an_image_made_from_a_generated_one_stays_generated(signer, trust_list, signed):
    edited = signer.sign(
        encode("PNG"), "image/png", "", action="c2pa.opened", parent=(signed, "image/png"), generator="Editor"
    )
    assert credential_of(inspect(edited, trust_list=trust_list)).says == "generated"


def test_a_photograph_edited_with_a_model_is_edited(signer, trust_list):
    photograph = signer.sign(encode("JPEG"), "image/jpeg", "digitalCapture")
    edited = signer.sign(
        encode("PNG"),
        "image/png",
        "compositeWithTrainedAlgorithmicMedia",
        action="c2pa.opened",
        parent=(photograph, "image/jpeg"),
    )
    assert credential_of(inspect(edited, trust_list=trust_list)).says == "ai_edited"


def test_a_linked_credential_is_fetched_only_when_asked(signer):
    requests = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
        linked = signer.sign(encode("JPEG"), "image/jpeg", "digitalCapture", remote_url=address)
        credential = credential_of(inspect(linked))
        assert (credential.status, credential.raw, credential.says) == ("remote", address, "unknown")
        assert not requests
        assert credential_of(inspect(linked, fetch_remote=True)).status == "invalid"  # it is not to be had there
        assert requests
        server.shutdown()


def test_without_the_library_the_credential_is_still_seen(signed, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    credential = credential_of(inspect(signed))
    assert (credential.status, credential.strength, credential.says) == ("unchecked", "hint", "generated")
    assert "pip install 'deepfake-tf[provenance]'" in credential.statement


def test_a_credential_cut_off_or_made_of_nonsense_is_reported(signed, trust_list):
    start = signed.find(b"caBX")
    nonsense = signed[: start + 4] + bytes(len(signed[start + 4 : start + 1004])) + signed[start + 1004 :]
    for broken in (nonsense, signed[: start + 500]):
        report = inspect(broken, trust_list=trust_list)
        assert credential_of(report).status in ("invalid", "tampered")
        assert credential_of(report).strength == "hint"


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"])
def test_a_broken_trust_list_is_an_error(signed, tmp_path, content):
    path = tmp_path / "list.pem"
    path.write_text(content)
    with pytest.raises(ValueError, match="trust list"):
        inspect(signed, trust_list=path)
    with pytest.raises(ValueError, match="Received"):
        inspect(signed, trust_list=tmp_path / "missing.pem")
