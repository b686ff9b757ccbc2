"""Content Credentials for the tests: a certificate authority made on the spot, and images signed with it."""

from __future__ import annotations

import datetime
import io
import json

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class Signer:
    """A signer of the organisation `organisation`, under a root of its own (C2PA 2.2, section 14.5)."""

    def __init__(self, organisation: str) -> None:
        root_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = _name(organisation, "Test Root")
        root = (
            _certificate(root_name, root_name, root_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        leaf = (
            _certificate(_name(organisation, "Test Signer"), root_name, self._key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        self.root_pem = root.public_bytes(serialization.Encoding.PEM).decode()
        self._chain = leaf.public_bytes(serialization.Encoding.PEM).decode() + self.root_pem

    def sign(
        self,
        image: bytes,
        mime_type: str,
        source_type: str,
        *,
        action: str = "c2pa.created",
        generator: str = "Test Generator",
        parent: tuple[bytes, str] | None = None,
        remote_url: str = "",
    ) -> bytes:
        """The image with a manifest that lists one action with this source type.

        Args:
            image: bytes. The encoded image.
            mime_type: its type.
            source_type: an IPTC term; none where empty.
            action: "c2pa.created", or "c2pa.opened" where there is a parent.
            generator: the name of the program.
            parent: the image that it was made from, and its type.
            remote_url: where the manifest is said to lie; then it is not embedded.
        """
        statement: dict[str, object] = {"action": action, "softwareAgent": {"name": generator}}
        if source_type:
            statement["digitalSourceType"] = IPTC + source_type
        if parent:
            statement["parameters"] = {"ingredientIds": ["parent"]}
        manifest = {
            "claim_generator_info": [{"name": generator, "version": "1.0"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [statement]}}],
        }
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", self._chain.encode(), key, None))
        settings = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
        signed = io.BytesIO()
        with (
            c2pa.Context.from_dict(settings, signer) as context,
            c2pa.Builder(json.dumps(manifest), context) as builder,
        ):
            if parent:
                ingredient = {"title": "parent", "relationship": "parentOf", "instance_id": "parent", "label": "parent"}
                builder.add_ingredient(json.dumps(ingredient), parent[1], io.BytesIO(parent[0]))
            if remote_url:
                builder.set_no_embed()
                builder.set_remote_url(remote_url)
            builder.sign(mime_type, io.BytesIO(image), signed)
        return signed.getvalue()


def _name(organisation: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
