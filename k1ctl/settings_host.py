"""The settings of workspaces and of their host: set-up, disk, archives, capacity, budget, hooks, metrics, alerts.

A table of its own, which `k1ctl.settings` takes over.
"""

from __future__ import annotations

from k1ctl.settings_kinds import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.settings import Place

HOST: dict[Place, Setting] = {
    ("worktree", "copy"): Setting("list", [".env", ".env.*"], "git-ignored files copied from the root (globs)"),
    ("worktree", "npm"): Setting("bool", True, "bring node_modules where a lock file of npm or pnpm is"),
    ("worktree", "cache"): Setting(
        "choice:auto|store|clone|copy|install", "auto", "how node_modules come from a seed: auto is clone, else copy"
    ),
    ("worktree", "read_only"): Setting("list", [], "folders of the root that `setup --cache symlink` may link to"),
    ("worktree", "templates"): Setting("str", "ops/templates", "folder of the root whose files are filled in"),
    ("worktree", "tools"): Setting("list", ["git", "gcc", "node", "npm"], "programs that set-up looks for"),
    ("worktree", "skip"): Setting("list", [], "steps of set-up that are left out, as npm:webapp"),
    ("setup", "*", "command"): Setting("list", [], "a step of your own in `worktree setup`: program and words"),
    ("setup", "*", "path"): Setting("str", ".", "folder in the worktree it runs in"),
    ("setup", "*", "needs"): Setting("list", [], "steps that must have succeeded before, as npm:webapp"),
    ("setup", "*", "inputs"): Setting("list", [], "files (globs) it depends on: unchanged, it is not run again"),
    ("setup", "*", "timeout"): Setting("duration", 600.0, "limit of the step"),
    ("ports", "first"): Setting("port", 21000, "first port of the range that workspaces lease their ports from"),
    ("ports", "last"): Setting("port", 22999, "last port of that range"),
    ("ports", "count"): Setting("slots", 10, "ports a workspace"),
    ("disk", "archive_percent"): Setting("int", 80, "use of the disk above which archiving is suggested"),
    ("disk", "stop_percent"): Setting("int", 95, "use of the disk that no command of k1ctl goes beyond (0: no check)"),
    ("disk", "workspace_quota"): Setting("size", 0, "bytes a workspace may take of its own (0: no quota)"),
    ("disk", "total_quota"): Setting("size", 0, "bytes all workspaces may take together (0: no quota)"),
    ("archive", "older_than"): Setting("duration", 604800.0, "a worktree that is idle for so long is archived"),
    ("archive", "keep"): Setting("duration", 2592000.0, "how long an archive is kept before it may be purged"),
    ("archive", "keep_trash"): Setting("duration", 604800.0, "how long the removed worktree itself is kept beside it"),
    ("archive", "branch_policy"): Setting(
        "choice:keep|delete-if-merged", "keep", "what becomes of the branch of an archived worktree"
    ),
    ("archive", "include"): Setting("list", [], "worktrees that may be archived (globs of names or paths; none: all)"),
    ("archive", "exclude"): Setting("list", [], "worktrees that are never archived (globs of names or paths)"),
    ("archive", "conductor"): Setting(
        "list",
        ["~/conductor/workspaces/*/*", "*/.conductor/*"],
        "worktrees that Conductor made (globs of paths): saved and reported, never removed",
    ),
    ("archive", "regenerable"): Setting(
        "list",
        [
            *(".pio", "build", "dist", "target", "node_modules", ".venv", "venv", "__pycache__", "*.egg-info"),
            *(
                ".k1ctl-modules",
                ".cache",
                ".vite",
                ".next",
                ".turbo",
                ".mypy_cache",
                ".ruff_cache",
                ".pytest_cache",
                ".hypothesis",
                ".tox",
            ),
        ],
        "git-ignored folders that can be made again and are not kept (globs of names or paths)",
    ),
    ("archive", "secrets"): Setting(
        "list",
        [
            *(
                ".env",
                ".env.*",
                "*.pem",
                "*.key",
                "*.p12",
                "*.pfx",
                "*.keystore",
                "id_rsa*",
                "id_ed25519*",
                "id_ecdsa*",
            ),
            *(".netrc", ".npmrc", ".pypirc", "*credentials*", "*secret*", "*.kdbx"),
        ],
        "files that are kept on this host only, 0600, and in no commit and no store (globs of names or paths)",
    ),
    ("archive", "limit"): Setting("size", 2 << 30, "a worktree with more than this to save is refused (0: no limit)"),
    ("archive", "store"): Setting("str", "", "store of `archive push`, as in [stores.NAME]"),
    ("artifact", "limit"): Setting("size", 100 << 20, "bytes that ops/artifacts may take (0: no limit)"),
    ("artifact", "keep"): Setting("int", 3, "newest artifacts of a workspace and target that are always kept"),
    ("artifact", "store"): Setting("str", "", "store of `artifact push`, as in [stores.NAME]"),
    ("capacity", "reserve"): Setting("size", 0, "memory that is nobody's (0: 8G or 15 %, whichever is more)"),
    ("capacity", "memory"): Setting("size", 0, "memory that may be promised in all (0: what the reserve leaves)"),
    ("capacity", "per_agent"): Setting(
        "size", 0, "memory of one agent; no more are let in than fit (0: as measured, else 4G, and none is kept out)"
    ),
    ("capacity", "base"): Setting("size", 0, "memory of an agent that waits or thinks (0: as measured, else 0.9 GB)"),
    ("capacity", "heavy", "*"): Setting(
        "size", 0, 'memory of a busy slot of a resource, as "build:fw" = "1.1G" (0: as measured)'
    ),
    ("capacity", "agents"): Setting("int", 0, "workspaces that may be set up at once (0: they are not counted)"),
    ("capacity", "cpus"): Setting("int", 0, "cores that may be promised in all (0: those there are)"),
    ("capacity", "tokens"): Setting("int", 0, "tokens that may be promised at once (0: not counted)"),
    ("capacity", "gpu_memory"): Setting("size", 0, "memory of the GPUs (0: what nvidia-smi tells)"),
    ("capacity", "gpu_per_agent"): Setting("size", 0, "GPU memory of one agent (0: agents need none)"),
    ("capacity", "models", "*"): Setting("slots", 1, "calls or agents that may use a model at once"),
    ("capacity", "admit_percent"): Setting(
        "int", 70, "use of memory above which no agent is let in (0: never kept out)"
    ),
    ("capacity", "build_percent"): Setting("int", 80, "use of memory above which builds and runs wait (0: never)"),
    ("capacity", "suspend_percent"): Setting(
        "int", 90, "use above which the youngest `capacity run` pauses (0: never)"
    ),
    ("capacity", "kill_percent"): Setting("int", 95, "use above which the youngest `capacity run` is ended (0: never)"),
    ("capacity", "limit_by"): Setting(
        "choice:auto|cgroup|watchdog",
        "auto",
        "what keeps limits: a cgroup (v2) where one can be had, else the watchdog",
    ),
    ("capacity", "oom_retries"): Setting("int", 2, "attempts with more memory after a detected lack of it"),
    ("budget", "buckets", "*", "provider"): Setting("str", "", "whose account it is, as in [budget.providers.NAME]"),
    ("budget", "buckets", "*", "requests"): Setting("int", 0, "requests it may make in a window (0: no limit)"),
    ("budget", "buckets", "*", "tokens"): Setting("tokens", 0, "tokens it may use in a window, as 400k (0: no limit)"),
    ("budget", "buckets", "*", "window"): Setting("duration", 60.0, "the window that these limits are for"),
    ("budget", "buckets", "*", "percent"): Setting("int", 80, "share of its limits at which another account is taken"),
    ("budget", "keys", "*", "bucket"): Setting("str", "", "the account it belongs to, as in [budget.buckets.NAME]"),
    ("budget", "keys", "*", "env"): Setting("variable", "", "name of the environment variable that holds the key"),
    ("budget", "keys", "*", "file"): Setting("secret-file", "", "file (0600) with the key in its first line"),
    ("budget", "providers", "*", "models"): Setting("list", [], "models that it serves"),
    ("budget", "providers", "*", "failures"): Setting("slots", 3, "failures in a row that open its breaker"),
    ("budget", "providers", "*", "probe"): Setting(
        "duration", 120.0, "how long one caller tries a provider that failed before another one may"
    ),
    ("budget", "chains", "*", "models"): Setting(
        "list", [], "models for a kind of task, the best first; `manual` at the end is a person"
    ),
    ("budget", "github", "token_env"): Setting("variable", "GITHUB_TOKEN", "name of the variable with GitHub's token"),
    ("budget", "github", "url"): Setting("str", "https://api.github.com", "GitHub's API"),
    ("budget", "github", "timeout"): Setting("duration", 10.0, "limit of `budget github --refresh`"),
    ("budget", "github", "writes_minute"): Setting("slots", 80, "requests a minute that create content"),
    ("budget", "github", "writes_hour"): Setting("slots", 500, "requests an hour that create content"),
    ("budget", "github", "spacing"): Setting("duration", 1.0, "between two of them"),
    ("budget", "day"): Setting("tokens", 0, "tokens a day that all agents may spend, as 3M (0: no limit)"),
    ("budget", "agent_day"): Setting("tokens", 0, "tokens a day and agent (0: no limit)"),
    ("budget", "task"): Setting("tokens", 0, "tokens of a task over its whole life (0: no limit)"),
    ("budget", "hour"): Setting("tokens", 0, "tokens an hour, of all agents (0: no limit)"),
    ("budget", "pools", "*"): Setting("tokens", 0, "tokens a day of a pool, as firmware, web, test, research"),
    ("budget", "reserve_pool"): Setting("tokens", 0, "of budget.day, what only critical work may use"),
    ("budget", "day_usd"): Setting("number", 0.0, "dollars a day (0: no limit)"),
    ("budget", "agent_day_usd"): Setting("number", 0.0, "dollars a day and agent (0: no limit)"),
    ("budget", "task_usd"): Setting("number", 0.0, "dollars of a task over its whole life (0: no limit)"),
    ("budget", "hour_usd"): Setting("number", 0.0, "dollars an hour (0: no limit)"),
    ("budget", "soft"): Setting("percents", [60, 80, 95], "shares of a limit that are an event, once each"),
    ("budget", "zone"): Setting("str", "", "zone that days begin in, as Europe/Oslo (default: the host's)"),
    ("budget", "prices"): Setting(
        "str", "", "file of prices of your own, over those of the package (docs/budget-sync.md)"
    ),
    ("budget", "unknown_model"): Setting(
        "choice:dearest|refuse", "dearest", "a model without a price: priced as the dearest, or its transcript refused"
    ),
    ("budget", "weights", "input"): Setting("number", 1.0, "what a token of this class counts for against limits"),
    ("budget", "weights", "output"): Setting("number", 1.0, "the same; about 5 where prices decide"),
    ("budget", "weights", "cache_write"): Setting("number", 1.0, "the same; about 1.25 where prices decide"),
    ("budget", "weights", "cache_read"): Setting("number", 1.0, "the same; about 0.1 where prices decide"),
    ("stores", "*", "kind"): Setting("str", "directory", "directory, s3, or one of a plugin"),
    ("stores", "*", "path"): Setting("str", "", "kind directory: the folder, absolute or below ~"),
    ("stores", "*", "bucket"): Setting("str", "", "kind s3: the bucket"),
    ("stores", "*", "prefix"): Setting("str", "", "kind s3: what keys begin with"),
    ("stores", "*", "endpoint"): Setting("str", "", "kind s3: URL of the service (default: AWS)"),
    ("stores", "*", "region"): Setting("str", "", "kind s3: its region"),
    ("stores", "*", "key_env"): Setting(
        "str", "AWS_ACCESS_KEY_ID", "kind s3: variable with the access key (empty: what AWS gives this machine)"
    ),
    ("stores", "*", "secret_env"): Setting("str", "AWS_SECRET_ACCESS_KEY", "kind s3: variable with the secret key"),
    ("tools", "pio"): Setting("str", "", "absolute path of PlatformIO's pio (default: found)"),
    ("tools", "esptool"): Setting("str", "", "path of Espressif's esptool, version 4 or 5 (default: found)"),
    ("tools", "addr2line"): Setting("str", "", "path of the toolchain's addr2line, which decodes backtraces"),
    ("hooks", "target"): Setting("str", "web:dev", "run target of `hook run` when nobody names one"),
    ("hooks", "wait"): Setting("duration", 1800.0, "how long a hook waits in line; then exit 75, the place is kept"),
    ("run_targets", "*", "command"): Setting("list", [], "words to run; the first may be `k1ctl` itself"),
    ("run_targets", "*", "path"): Setting("str", ".", "folder in the worktree; {targets.fw.path} is that setting"),
    ("run_targets", "*", "resources"): Setting(
        "list", [], "what it holds, as in device:{defaults.device} or test:web=2; {tree} is this worktree"
    ),
    ("run_targets", "*", "wait"): Setting("duration", 0.0, "how long it waits in line (0: hooks.wait)"),
    ("run_targets", "*", "timeout"): Setting("duration", 0.0, "limit of the command (0: none)"),
    ("run_targets", "*", "interactive"): Setting("bool", False, "keep it in the terminal's foreground"),
    ("run_targets", "*", "port"): Setting("list", [], "words added to it; {port} is the worktree's first port"),
    ("run_targets", "*", "about"): Setting("str", "", "one line for `hook run --list`"),
    ("metrics", "port"): Setting("port", 8080, "port of `metrics serve`, on 127.0.0.1 (0: any free one)"),
    ("metrics", "most"): Setting("slots", 100, "values that a label may have; the others are summed as `other`"),
    ("metrics", "aliases"): Setting("bool", True, "tell the figures under the annexes' names as well"),
    ("metrics", "period"): Setting("duration", 60.0, "how often samples are taken; older than twice this is stale"),
    ("metrics", "active"): Setting("duration", 3600.0, "a workspace whose last event is younger is active"),
    ("metrics", "fps_target"): Setting("int", 150, "frames a second that devices are to reach (0: not told)"),
    ("metrics", "hosts"): Setting(
        "list", [], "names by which `metrics serve` may be called beside localhost and 127.0.0.1"
    ),
    ("slo", "*", "kind"): Setting("choice:build|upload|test|run|turn", "build", "what it is about"),
    ("slo", "*", "of"): Setting("str", "", "the target, the device of a test, the kind of a run (default: all)"),
    ("slo", "*", "percent"): Setting("number", 95.0, "percent that have to be good, below 100 (0: no objective)"),
    ("slo", "*", "within"): Setting("duration", 0.0, "good is what is done within it (0: what succeeds, in any time)"),
    ("slo", "*", "window"): Setting("duration", 604800.0, "the time it is kept in, up to 35 days"),
    ("slo", "*", "escalate"): Setting("int", 0, "failures of a workspace in a row that are to be mended (0: not)"),
    ("slo", "*", "investigate"): Setting("duration", 0.0, "one that takes longer is looked into (0: not)"),
    ("alerts", "gap"): Setting("duration", 420.0, "two checks that are further apart tell nothing of the time between"),
    ("alerts", "resolve"): Setting("duration", 120.0, "an alert is over when it was well for so long"),
    ("alerts", "throttle"): Setting("duration", 900.0, "people are told of an alert once in it, often as it fires"),
    ("alerts", "queue", "on"): Setting("bool", True, "whether the length of the queue is an alert"),
    ("alerts", "queue", "limit"): Setting("int", 5, "tickets that may wait for one resource"),
    ("alerts", "queue", "for"): Setting("duration", 600.0, "how long more may"),
    ("alerts", "success", "on"): Setting("bool", True, "whether the success rate is an alert"),
    ("alerts", "success", "limit"): Setting("number", 0.8, "share of builds, uploads and tests that has to succeed"),
    ("alerts", "success", "window"): Setting("duration", 86400.0, "the time it is taken over"),
    ("alerts", "success", "events"): Setting("slots", 10, "fewer of them tell nothing"),
    ("alerts", "success", "for"): Setting("duration", 0.0, "how long it may be less"),
    ("alerts", "disk", "on"): Setting("bool", True, "whether a full disk is an alert"),
    ("alerts", "disk", "limit"): Setting("int", 80, "percent of the disk that may be used"),
    ("alerts", "disk", "for"): Setting("duration", 0.0, "how long more may"),
    ("alerts", "device", "on"): Setting("bool", True, "whether a device that does not answer is an alert"),
    ("alerts", "device", "age"): Setting("duration", 600.0, "an older answer to a probe tells nothing"),
    ("alerts", "device", "for"): Setting("duration", 180.0, "how long it may not answer"),
    ("alerts", "escalation", "on"): Setting("bool", True, "whether trouble that reached a person or more is an alert"),
    ("alerts", "escalation", "for"): Setting("duration", 0.0, "how long it may last"),
    ("alerts", "burn", "on"): Setting("bool", True, "whether an error budget that burns is an alert"),
    ("alerts", "burn", "for"): Setting("duration", 0.0, "how long it may"),
    ("alerts", "budget", "on"): Setting("bool", True, "whether a budget of tokens or dollars near its end is an alert"),
    ("alerts", "budget", "limit"): Setting("int", 90, "percent of a limit that may be spent and held"),
    ("alerts", "budget", "for"): Setting("duration", 0.0, "how long more may"),
    ("alerts", "exporter", "on"): Setting("bool", True, "whether metrics that nobody writes any more are an alert"),
    ("alerts", "exporter", "for"): Setting("duration", 0.0, "how long they may be stale"),
    ("alerts", "host", "on"): Setting("bool", True, "whether a host that stalls is an alert"),
    ("alerts", "host", "level"): Setting("choice:crit|warn", "crit", "the verdict of `host health` that is wrong"),
    ("alerts", "host", "for"): Setting("duration", 300.0, "how long it may be"),
    ("events", "compress"): Setting("duration", 172800.0, "a day of events that ended so long ago is compressed"),
    ("events", "keep"): Setting("duration", 0.0, "one that ended so long ago is removed, as 400d (0: none is)"),
}
