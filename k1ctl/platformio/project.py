"""What k1ctl must know of a ``platformio.ini`` before it calls pio: environments, object cache, linked platforms."""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configparser import ConfigParser


class Project:
    """A PlatformIO project.

    ``path`` its folder; ``environments`` all names; ``defaults`` those that a bare ``pio run`` builds;
    ``shares_objects`` whether it configures ``build_cache_dir``; ``links_platform`` whether a platform is ``symlink://``;
    ``one_line_scripts`` whether ``extra_scripts`` is several in one line: PlatformIO reads such a list wrongly when the
    environment adds one more.
    """

    __slots__ = ("defaults", "environments", "links_platform", "one_line_scripts", "path", "shares_objects")

    def __init__(self, path: str, parser: ConfigParser) -> None:
        self.path = path
        self.environments = [s[4:] for s in parser.sections() if s.startswith("env:")]
        named = parser.get("platformio", "default_envs", fallback="") or ""
        words = [word for word in named.replace(",", " ").split() if word]
        self.defaults = words or self.environments
        self.shares_objects = bool(parser.get("platformio", "build_cache_dir", fallback=""))
        scripts = [parser.get(s, o, fallback="") or "" for s in parser for o in ("extra_scripts", "extra_script")]
        self.one_line_scripts = any(", " in text and "\n" not in text.strip() for text in scripts)
        self.links_platform = any("symlink://" in (parser.get(s, "platform", fallback="") or "") for s in parser)

    def environment(self, wanted: str = "") -> str:
        """The one environment to build: ``wanted``, else the only default. Raises ConfigError."""
        there = f"there are: {', '.join(self.environments) or 'none'}"
        if wanted:
            if wanted not in self.environments:
                raise ConfigError(
                    f"{self.path} has no environment {wanted!r}", hint=there, code="unknown-env", env=wanted
                )
            return wanted
        if len(self.defaults) == 1 and self.defaults[0] in self.environments:
            return self.defaults[0]
        raise ConfigError(
            f"{self.path} does not say which one environment to build (default_envs: {', '.join(self.defaults)})",
            hint=f"pass --env or set env of the target; {there}",
            code="ambiguous-env",
        )


def read_project(path: str) -> Project:
    """Read ``platformio.ini`` and its ``extra_configs`` in folder ``path``. Raises ConfigError."""
    return Project(path, read_ini(path))


def read_ini(path: str) -> ConfigParser:
    """The sections of ``platformio.ini`` and its ``extra_configs``; references stay. Raises ConfigError."""
    from configparser import ConfigParser, Error

    file = os.path.join(path, "platformio.ini")
    parser = ConfigParser(inline_comment_prefixes=("#", ";"), interpolation=None, strict=False, allow_no_value=True)
    try:
        with open(file, encoding="utf-8") as f:
            parser.read_file(f)
        patterns = (parser.get("platformio", "extra_configs", fallback="") or "").split()
        if patterns:
            import glob

            parser.read([p for word in patterns for p in sorted(glob.glob(os.path.join(path, word)))], "utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{file} is not there",
            hint="set path of the target to the PlatformIO project",
            code="no-project",
            file=file,
        ) from None
    except (Error, UnicodeDecodeError, IsADirectoryError) as exc:
        raise ConfigError(f"{file} cannot be used: {' '.join(str(exc).split())}", file=file) from exc
    return parser
