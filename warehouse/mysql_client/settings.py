"""Where a MySQL or MariaDB server is and who asks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warehouse.errors import UsageError

SSL_MODES = ("preferred", "required", "verify_ca", "verify_identity", "disabled")


@dataclass(frozen=True)
class Settings:
    """Where the server is and who asks; from FUNNELIFT_MYSQL_*."""

    host: str = "127.0.0.1"
    port: int = 3306
    user: str = "funnelift"
    password: str = field(default="", repr=False)
    ssl_mode: str = "preferred"
    ssl_ca: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read FUNNELIFT_MYSQL_HOST, _PORT, _USER, _PASSWORD, _SSL_MODE and _SSL_CA.

        Parameters
        ----------
        environment : mapping
            Environment variables.

        Returns
        -------
        Settings
            Checked as far as can be without a server.

        Raises
        ------
        UsageError
            A setting cannot work.
        """

        def given(name: str, default: str) -> str:
            return environment.get(f"FUNNELIFT_MYSQL_{name}") or default

        port = given("PORT", str(cls.port))
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError(f"FUNNELIFT_MYSQL_PORT: {port!r} is no port number, 1 to 65535")
        mode = given("SSL_MODE", cls.ssl_mode).lower()
        if mode not in SSL_MODES:
            raise UsageError(f"FUNNELIFT_MYSQL_SSL_MODE: {mode!r} is none of {', '.join(SSL_MODES)}")
        authority = given("SSL_CA", "")
        if authority and not Path(authority).is_file():
            raise UsageError(f"FUNNELIFT_MYSQL_SSL_CA: there is no file {authority}")
        if mode.startswith("verify") and not authority:
            raise UsageError(
                f"FUNNELIFT_MYSQL_SSL_MODE={mode} needs FUNNELIFT_MYSQL_SSL_CA, the certificate authority's PEM file"
            )
        return cls(
            given("HOST", cls.host),
            int(port),
            given("USER", cls.user),
            given("PASSWORD", ""),
            mode,
            Path(authority) if authority else None,
        )

    @property
    def place(self) -> str:
        """Who and where, as messages name it."""
        return f"{self.user}@{self.host}:{self.port}"
