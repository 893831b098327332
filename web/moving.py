"""Moving a hub to another database, as the person at the command line sees it."""

from collections.abc import Callable

from storage.copying import copy_database
from storage.place import place_of


async def copy(source_url: str, target_url: str, say: Callable[[str], None]) -> list[str]:
    """Copy, telling of each table as it is read; return what is to be said in the end.

    Raises: see `copy_database`; InvalidSettings when no engine knows one of the addresses.
    """

    counts: dict[str, int] = {}

    def on_table(name: str, rows: int) -> None:
        counts[name] = rows
        if rows:
            say(f"{rows:>12,}  {name}")

    say(f"Copying {place_of(source_url)} to {place_of(target_url)}.")
    report = await copy_database(source_url, target_url, on_table)
    sentences = [f"{report.total:,} rows were copied and compared, and the books agree."]
    if report.mended_texts:
        sentences.append(
            f"{report.mended_texts:,} texts held a NUL, which not every database can keep: it is "
            "the character U+FFFD in the copy."
        )
    if counts.get("data_target"):
        sentences.append(
            "Give the hub the secret key that it had on the source (TINGBRO_SECRET_KEY, or the file "
            "secret_key): no other opens the secrets of its data targets."
        )
    sentences.append(
        "Start the hub on the copy, and never again on the source: both would deliver what waits."
    )
    return sentences
