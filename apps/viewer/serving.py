"""Large content as files of this server, at addresses that nobody can guess and that name nobody.

Streamlit keeps such a file in memory as long as a session's page uses it, and serves it to whoever knows the address.
Its own addresses are hashes of the content (of parts of it above 1 MiB), so a secret of this process goes in.
"""

import hashlib
import hmac
import secrets

from streamlit.runtime import get_instance

_SECRET = secrets.token_bytes(32)
GZIP, PNG = "application/gzip", "image/png"


def address_of(content: bytes, key: str, *, place: str, kind: str = GZIP) -> str:
    """Serve `content` and give its path on this server.

    Args:
        content: What is served.
        key: What names the content; equal keys are equal contents.
        place: Where on the page it is used; a place has one file.
        kind: Its media type.
    """
    secret = hmac.new(_SECRET, key.encode(), hashlib.sha256).hexdigest()
    return get_instance().media_file_mgr.add(content, kind, coordinates=place, file_name=secret)
