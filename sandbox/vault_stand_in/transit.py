"""Transit: AES-256-GCM keys that never leave, versions, and keys derived by a context."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .core import Backend, Core
from .protocol import JSON, Answer, Refused, Request, unsupported


class Transit(Backend):
    """Not compatible with Vault's ciphertexts: only with its interface."""

    type = "transit"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.keys: dict[str, JSON] = {}

    def exists(self, rest: str) -> bool:
        kind, _, name = rest.partition("/")
        return kind not in ("keys", "encrypt") or name.partition("/")[0] in self.keys

    def handle(self, request: Request, rest: str) -> Answer:
        match (request.verb, *rest.rstrip("/").split("/")):
            case ("POST" | "PUT", "keys", name):
                if request.body.get("type", "aes256-gcm96") != "aes256-gcm96":
                    raise Refused(400, "the stand-in knows aes256-gcm96 only")
                self.keys.setdefault(name, _new_key(request.body))
                return Answer()
            case (_, _, name, *_) if name not in self.keys and rest.partition("/")[0] != "datakey":
                if request.verb == "GET":
                    raise Refused(404)
                raise Refused(400, "encryption key not found")
            case ("GET", "keys", name):
                key = self.keys[name]
                shown = {
                    each: key[each]
                    for each in ("type", "derived", "deletion_allowed", "min_decryption_version")
                }
                return Answer(
                    data=shown | {"name": name, "latest_version": len(key["versions"]), "exportable": False}
                )
            case ("DELETE", "keys", name):
                if not self.keys[name]["deletion_allowed"]:
                    raise Refused(400, "error deleting policy: deletion is not allowed for this policy")
                del self.keys[name]
                return Answer()
            case ("POST" | "PUT", "keys", name, "config"):
                known = ("deletion_allowed", "min_decryption_version")
                self.keys[name] |= {each: request.body[each] for each in known if each in request.body}
                return Answer()
            case ("POST" | "PUT", "keys", name, "rotate"):
                self.keys[name]["versions"].append(secrets.token_bytes(32))
                return Answer()
            case ("POST" | "PUT", "encrypt" | "decrypt" | "rewrap" as verb, name):
                return self._batch(request, verb, self.keys[name])
            case ("POST" | "PUT", "datakey", "plaintext" | "wrapped" as kind, name):
                if name not in self.keys:
                    raise Refused(400, "encryption key not found")
                return self._data_key(request, kind, self.keys[name])
        raise unsupported(request)

    def _batch(self, request: Request, verb: str, key: JSON) -> Answer:
        batch = request.body.get("batch_input")
        if batch is None:
            return Answer(data=_one(verb, key, request.body))
        results = []
        for each in batch:
            try:
                results.append(_one(verb, key, each))
            except Refused as refused:
                results.append({"error": refused.errors[0]})
        failed = any("error" in each for each in results)
        return Answer(data={"batch_results": results}, status=400 if failed else 0)

    def _data_key(self, request: Request, kind: str, key: JSON) -> Answer:
        made = secrets.token_bytes(int(request.body.get("bits") or 256) // 8)
        data: JSON = {"ciphertext": _encrypted(key, made, request.body), "key_version": len(key["versions"])}
        if kind == "plaintext":
            data["plaintext"] = base64.b64encode(made).decode()
        return Answer(data=data)


def _new_key(body: JSON) -> JSON:
    return {
        "type": "aes256-gcm96",
        "derived": bool(body.get("derived")),
        "deletion_allowed": False,
        "min_decryption_version": 1,
        "versions": [secrets.token_bytes(32)],
    }


def _one(verb: str, key: JSON, item: JSON) -> JSON:
    if verb == "encrypt":
        return {
            "ciphertext": _encrypted(key, _decoded(item, "plaintext"), item),
            "key_version": len(key["versions"]),
        }
    plaintext = _decrypted(key, item)
    if verb == "decrypt":
        return {"plaintext": base64.b64encode(plaintext).decode()}
    return {"ciphertext": _encrypted(key, plaintext, item), "key_version": len(key["versions"])}


def _cipher(key: JSON, version: int, item: JSON) -> AESGCM:
    secret: bytes = key["versions"][version - 1]
    if key["derived"]:
        if not item.get("context"):
            raise Refused(
                400, "missing 'context' for key derivation; the key was created using a derived key"
            )
        secret = HKDF(SHA256(), 32, None, _decoded(item, "context")).derive(secret)
    return AESGCM(secret)


def _encrypted(key: JSON, plaintext: bytes, item: JSON) -> str:
    version, nonce = len(key["versions"]), secrets.token_bytes(12)
    sealed = _cipher(key, version, item).encrypt(nonce, plaintext, _associated(item))
    return f"vault:v{version}:{base64.b64encode(nonce + sealed).decode()}"


def _decrypted(key: JSON, item: JSON) -> bytes:
    head, version, text = [*str(item.get("ciphertext", "")).split(":", 2), "", ""][:3]
    number = version.removeprefix("v")
    if head != "vault" or not number.isdecimal():
        raise Refused(400, "invalid ciphertext: no prefix")
    if not key["min_decryption_version"] <= int(number) <= len(key["versions"]):
        raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
    try:
        sealed = base64.b64decode(text, validate=True)
        return _cipher(key, int(number), item).decrypt(sealed[:12], sealed[12:], _associated(item))
    except (InvalidTag, ValueError) as error:
        raise Refused(400, "cipher: message authentication failed") from error


def _associated(item: JSON) -> bytes | None:
    return _decoded(item, "associated_data") if item.get("associated_data") else None


def _decoded(item: JSON, name: str) -> bytes:
    try:
        return base64.b64decode(str(item.get(name, "")), validate=True)
    except binascii.Error as error:
        raise Refused(400, f"failed to base64-decode {name}") from error
