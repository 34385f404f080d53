"""The secret key, and the pseudonyms that it makes: the same value and key give the same pseudonym, always.

HMAC-SHA-256 (RFC 2104) with a purpose in front of the value, so that a UID and a patient identifier of the same text
have nothing in common. Whoever has the key can tell whether a guessed identifier belongs to a pseudonym: it is as
secret as the identities. It is never printed and never written anywhere but into its own file.
"""

import hashlib
import hmac
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path

from medfuse.errors import StorageError, UsageError

KEY_BYTES = 32
"""Length of a key."""

_WELL_KNOWN = "1.2.840.10008."
_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_SHORTEST_SHIFT_DAYS, _LONGEST_SHIFT_DAYS = 30, 3650


class Secret:
    """A key and what is derived from it.

    Args:
        key: At least 16 random bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise UsageError(f"a key of {len(key)} bytes is too short to be a secret; make one with --new-key")
        self._key = key

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not stored")

    @classmethod
    def random(cls) -> "Secret":
        """A key for this run alone."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def fingerprint(self) -> str:
        """Tells whether two outputs were made with one key; says nothing about the key."""
        return self._digest("fingerprint", "").hex()[:32]

    def token(self, purpose: str, value: str) -> str:
        """A digest of a value for comparing, 32 hexadecimal digits."""
        return self._digest(purpose, value).hex()[:32]

    def patient(self, identifier: str) -> str:
        """The pseudonym of a patient: `P` and 16 hexadecimal digits, fit for Patient ID and folder names."""
        return f"P{self._digest('patient', identifier.strip()).hex()[:16]}"

    def uid(self, uid: str) -> str:
        """The UID that stands for a UID: `2.25.` and a version 8 UUID as a number (PS3.5 section B.2, RFC 9562).

        UIDs that DICOM itself defines stay; text that is no UID gets one all the same.
        """
        plain = uid.strip().rstrip("\0")
        if not plain or (plain.startswith(_WELL_KNOWN) and _UID.fullmatch(plain)):
            return plain
        number = int.from_bytes(self._digest("uid", plain)[:16], "big")
        number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
        return f"2.25.{number}"

    def day_shift(self, identifier: str) -> timedelta:
        """How far all dates of a patient move into the past, in whole days: between a month and ten years."""
        span = _LONGEST_SHIFT_DAYS - _SHORTEST_SHIFT_DAYS + 1
        number = int.from_bytes(self._digest("dates", identifier.strip())[:8], "big")
        return timedelta(days=-(_SHORTEST_SHIFT_DAYS + number % span))

    def _digest(self, purpose: str, value: str) -> bytes:
        return hmac.new(self._key, f"medfuse {purpose}\0{value}".encode(), hashlib.sha256).digest()


def read_key_file(path: Path) -> Secret:
    """Read a key file: 64 hexadecimal digits that only its owner may read.

    Raises:
        UsageError: It is missing, readable by others, or holds no key.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "holds no key"
        raise UsageError(f"key file {path}: {why}; make one with --new-key") from error
    if os.name == "posix" and mode & 0o077:
        raise UsageError(f"key file {path} may be read by others (mode {mode & 0o777:04o}); run: chmod 600 {path}")
    if not re.fullmatch(r"[0-9a-fA-F]{32,}", text) or len(text) % 2:
        raise UsageError(f"key file {path} holds no key: expected 64 hexadecimal digits; make one with --new-key")
    return Secret(bytes.fromhex(text))


def create_key_file(path: Path) -> Secret:
    """Make a key and its file, mode 0600; an existing file is never replaced.

    Raises:
        UsageError: Something of this name exists.
        StorageError: The file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"--new-key: {path} exists; leave --new-key out to use it, or choose another name") from error
    except OSError as error:
        raise StorageError(f"cannot write the key file {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return read_key_file(path)
