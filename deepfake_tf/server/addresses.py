"""Addresses to listen on, and those that reach them."""

from __future__ import annotations

import ipaddress


def reachable(host: str) -> str:
    """How a URL names, for a client on this machine, a server that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return host
    if address.is_unspecified:  # all addresses of this machine
        return "[::1]" if address.version == 6 else "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host
