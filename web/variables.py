"""The environment variables that Tingbro reads: their names, what they default to and what they do.

`docs/settings.md` is this list as a page; a test compares the two. After a change here::

    python -m web.variables > docs/settings.md
"""

import sys
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "TINGBRO_"


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting. `name` goes without the prefix; `default` is what a reader is told."""

    name: str
    default: str
    meaning: str


VARIABLES: Final = (
    Variable(
        "DATA_DIR",
        "`./data`",
        "Directory for everything the hub keeps: database, journal, secret key. Created if missing.",
    ),
    Variable(
        "HTTP_HOST",
        "`0.0.0.0`",
        "Address to listen on. The default is every IPv4 interface, because a hub that devices "
        "cannot reach is no hub; use `127.0.0.1` behind a reverse proxy on the same machine, `::` "
        "for IPv6 as well.",
    ),
    Variable("HTTP_PORT", "`3000`", "Port of the API, the devices' endpoint and the health pages."),
    Variable(
        "BASE_URL",
        "`http://localhost:PORT`",
        "The address under which people and devices reach the hub, as written in what it prints.",
    ),
    Variable(
        "DATABASE_URL",
        "`sqlite:///DATA_DIR/tingbro.db`",
        "Where messages and entities are kept. `sqlite:///relative/path`, `sqlite:////absolute/path`.",
    ),
    Variable(
        "SECRET_KEY",
        "generated",
        "Signs sessions and guards stored credentials; at least 32 characters. When not given, one "
        "is generated and kept in `DATA_DIR/secret_key`, readable by the owner only.",
    ),
    Variable(
        "TLS_CERTIFICATE",
        "none",
        "PEM file with the certificate chain; with it the hub speaks HTTPS by itself.",
    ),
    Variable("TLS_KEY", "none", "PEM file with the certificate's private key."),
    Variable(
        "TRUSTED_PROXIES",
        "none",
        "Comma-separated addresses or networks whose `X-Forwarded-*` headers are believed.",
    ),
    Variable(
        "ADMIN_EMAIL",
        "`admin@localhost`",
        "E-mail of the administrator that is created on the first start.",
    ),
    Variable(
        "ADMIN_PASSWORD",
        "generated",
        "The first administrator's password, 8 to 50 characters. When not given, one is generated "
        "and printed once. It has no effect after the first start.",
    ),
    Variable("LOG_LEVEL", "`info`", "`debug`, `info`, `warning` or `error`."),
    Variable(
        "LOG_FORMAT",
        "`auto`",
        "`console` for people, `json` for machines; `auto` is console on a terminal and json "
        "otherwise.",
    ),
    Variable(
        "MAX_BODY_BYTES",
        "`1048576`",
        "Largest request body accepted, 1 KiB to 16 MiB; more is answered 413.",
    ),
    Variable(
        "DECODER_WORKERS",
        "processor cores, 2 to 8",
        "Processes that run payload decoders, 1 to 64. With one, a slow script delays all others.",
    ),
    Variable(
        "RAW_RETENTION_DAYS",
        "`30`",
        "Days that raw payloads are kept, so that they can be decoded again; 1 to 3650.",
    ),
    Variable(
        "SHUTDOWN_TIMEOUT_S",
        "`8`",
        "Seconds that an orderly stop may take, 1 to 300. The default is below the ten seconds "
        "after which container runtimes kill. What is not finished by then is finished after the "
        "next start.",
    ),
)


def page() -> str:
    """The settings page of the documentation, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Settings come from the environment and are read once, at start. `tingbro check` reads them",
        "without starting anything and reports every mistake together; a misspelt name is a mistake",
        "too, so that nothing is silently ignored. An empty value counts as not set.",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
        *(
            f"| `{PREFIX}{variable.name}` | {variable.default} | {variable.meaning} |"
            for variable in VARIABLES
        ),
        "",
        "This page is made by `python -m web.variables > docs/settings.md`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
