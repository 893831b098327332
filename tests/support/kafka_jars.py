"""Apache Kafka's jars from Maven Central, fetched once into a cache that all test runs share.

    python -m tests.support.kafka_jars

fetches them ahead of time. `TINGBRO_TEST_KAFKA` names another directory that holds the jars, or will.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

VERSION: Final = "3.9.1"
FETCH_TIMEOUT_S: Final = 900

_NEEDED: Final = {"java": "default-jre-headless", "mvn": "maven"}
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tingbro</groupId>
  <artifactId>test-broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class KafkaNotToBeHad(Exception):
    """There is no Java or no Maven; the text names the packages to install."""


def directory() -> Path:
    """Where the jars are, or will be."""
    if chosen := os.environ.get("TINGBRO_TEST_KAFKA"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tingbro" / f"kafka-{VERSION}"


def ensure(announce: Callable[[str], None]) -> Path:
    """Return the directory of the jars, fetching them first when they are not there.

    Raises:
        KafkaNotToBeHad: a program that is needed is not installed.
    """
    jars = directory()
    wanted = ["java"] if jars.is_dir() else ["java", "mvn"]
    if missing := [_NEEDED[program] for program in wanted if shutil.which(program) is None]:
        raise KafkaNotToBeHad(
            f"The tests with Apache Kafka need Java 17 and Maven: apt install {' '.join(missing)}"
        )
    if not jars.is_dir():
        announce(f"Fetching Apache Kafka {VERSION} (46 MB, once) into {jars}")
        _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    """Fetch beside the place and rename: others that fetch at the same time see all or nothing."""
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(_POM)
        fetched = Path(scratch) / "jars"
        done = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
        if done.returncode:
            raise AssertionError(f"Maven could not fetch Apache Kafka:\n{done.stdout[-2000:]}")
        try:
            fetched.rename(jars)
        except OSError:
            if not jars.is_dir():
                raise


if __name__ == "__main__":
    print(ensure(lambda line: print(line, file=sys.stderr)))  # noqa: T201  # a command's answer
