"""Where things live outside the checkout: the embedded database, the Dagster home, converted models."""

import os
import pwd
from pathlib import Path

import platformdirs

URL_VARIABLE = "SUM_ASSETS_DATABASE_URL"
DEMO_VARIABLE = "SUM_ASSETS_DEMO"
_PACKAGE = Path(__file__).parent


def project_file(name: str) -> Path:
    """Return a file or folder that stands beside the package in a checkout, and inside it in a wheel."""
    return next(path for path in (_PACKAGE / name, _PACKAGE.parent / name) if path.exists())


def shipped(path: Path) -> Path:
    """Return a file that exists, else the one of that name that comes with the package, else the path unchanged.

    So `sweeps/cpu.yaml` and `fleets/four-k80.yaml` are found outside a checkout, too.
    """
    if path.exists() or path.is_absolute() or path.parts[:1] not in (("sweeps",), ("fleets",)):
        return path
    file = project_file(path.parts[0]).parent / path
    return file if file.is_file() else path


def base_dir() -> Path:
    """Return the folder of everything: `SUM_ASSETS_HOME`, or the user's data folder.

    Root's embedded server runs as a system user that must be able to reach its data, so root gets a folder
    under /var/lib, which spares root's own home from being opened to everybody.
    """
    if chosen := os.environ.get("SUM_ASSETS_HOME"):
        return Path(chosen).expanduser().resolve()
    if os.geteuid() == 0 and Path.home() == Path(pwd.getpwuid(0).pw_dir):
        return Path("/var/lib/sum_assets")
    return platformdirs.user_data_path("sum_assets")


def demo_dir() -> Path:
    """Return the home of `make demo`, apart from the user's own."""
    return base_dir() / "demo"


def in_demo() -> bool:
    """Return whether the demo's home is in use.

    `SUM_ASSETS_DEMO` asks for it, over everything else; else it is in use where only the demo has a database.
    """
    if os.environ.get(DEMO_VARIABLE):
        return True
    if os.environ.get(URL_VARIABLE):
        return False
    return postgres_dir(demo_dir()).exists() and not postgres_dir(base_dir()).exists()


def home() -> Path:
    """Return the home in use: the user's own, or the demo's."""
    return demo_dir() if in_demo() else base_dir()


def start_command() -> str:
    """Return the command that starts the embedded server of the home in use."""
    return f"{DEMO_VARIABLE}=1 sum-assets db start" if in_demo() else "sum-assets db start"


def postgres_dir(of: Path) -> Path:
    """Return the data folder of a home's embedded server."""
    return of / "postgres"


def dagster_dir(of: Path) -> Path:
    """Return a home's `DAGSTER_HOME`."""
    return of / "dagster"


def dagster_is_here() -> bool:
    """Return whether Dagster keeps its tables in the database of the corpus: not in a storage of the user's own."""
    own_home = os.environ.get("DAGSTER_HOME")
    return in_demo() or own_home in (None, "", str(dagster_dir(home())))


def models_dir() -> Path:
    """Return the cache of converted models, shared by all homes: it depends on the files converted alone."""
    return base_dir() / "models"


def engines_dir() -> Path:
    """Return where the environments of engines are, shared by all homes."""
    return base_dir() / "engines"


def rates_dir() -> Path:
    """Return where the measured rates of devices are, shared by all homes."""
    return base_dir() / "rates"
