"""Every setting: its place in ``ops/k1ctl.toml``, its type (`k1ctl.settings_kinds`), its default and one line on what
it does.

A place is a tuple of keys; ``*`` stands for a name that the user chooses.
"""

from __future__ import annotations

from k1ctl.settings_kinds import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[str, ...]


SETTINGS: dict[Place, Setting] = {
    ("defaults", "target"): Setting("str", "fw", "target of `build` and `upload` when none is named"),
    ("defaults", "device"): Setting("str", "k1", "device of `upload` when neither the call nor the target names one"),
    ("queue", "dir"): Setting("str", "", "folder of the queue (default ops/queue); one folder shared by repositories"),
    ("queue", "park"): Setting("duration", 900.0, "how long a waiter that was killed keeps its place"),
    ("queue", "stall"): Setting("duration", 1.0, "how long the first in line may ignore a free slot"),
    ("queue", "ageing"): Setting("duration", 1800.0, "a waiter rises by one priority each time, to high (0: never)"),
    ("queue", "max_length"): Setting("int", 500, "tickets that may wait for one resource"),
    ("queue", "slots", "*"): Setting("slots", 1, "slots of a resource (unlisted: build:* has 4, any other 1)"),
    ("process", "grace"): Setting("duration", 10.0, "between TERM and KILL"),
    ("process", "sample"): Setting("duration", 2.0, "between two looks at a running command's memory"),
    ("process", "keep_runs"): Setting("int", 1000, "run folders kept under ops/runs; older ended ones are removed"),
    ("devices", "*", "host"): Setting("str", "", "address or name; DHCP moves addresses, so prefer NAME.local"),
    ("devices", "*", "mac"): Setting("mac", "", "MAC; a device with another one is refused before any byte is sent"),
    ("devices", "*", "identity"): Setting("str", "K1.reinvented", "the `device` field of /api/device/info"),
    ("devices", "*", "ota_port"): Setting("port", 3232, "UDP port of ArduinoOTA"),
    ("devices", "*", "ota_host_port"): Setting(
        "port", 0, "TCP port of this host it connects back to (0: any free one)"
    ),
    ("devices", "*", "interface"): Setting(
        "str", "", "interface or own IPv4 address it connects back to (default: the route decides)"
    ),
    ("devices", "*", "password_env"): Setting("str", "", "name of the environment variable with its OTA password"),
    ("devices", "*", "password_file"): Setting("str", "", "file (0600) with its OTA password in the first line"),
    ("devices", "*", "http_port"): Setting("port", 80, "TCP port of the REST API"),
    ("devices", "*", "usb_port"): Setting(
        "str", "", "serial port for `upload --via usb` (default: the one with its MAC)"
    ),
    ("devices", "*", "probe_timeout"): Setting("duration", 5.0, "one deadline over the whole probe"),
    ("devices", "*", "boot_timeout"): Setting("duration", 30.0, "a device that took an image is back within it"),
    ("devices", "*", "soak"): Setting(
        "duration", 0.0, "after an upload it is watched for so long: no restart, no fps below fps_min (0: not)"
    ),
    ("devices", "*", "build_id"): Setting(
        "str", "", 'where it tells which build it runs, as "/api/device/info:build.id" (default: it does not)'
    ),
    ("devices", "*", "fps_min"): Setting("int", 0, "fewer frames a second are degraded, as 120 (0: no check)"),
    ("devices", "*", "heap_min"): Setting("size", 0, "less free memory is degraded, as 40k (0: no check)"),
    ("devices", "*", "rssi_min"): Setting("dbm", 0, "a weaker signal is degraded, as -80 (0: no check)"),
    ("devices", "*", "groups"): Setting("list", [], "groups it is in; device:GROUP is the first free one of a group"),
    ("device", "window"): Setting("duration", 1.0, "one probe in this time, whose answer all askers share"),
    ("targets", "*", "kind"): Setting(
        "str", "platformio", "kind of build: platformio, npm, command, or one of a plugin"
    ),
    ("targets", "*", "path"): Setting("str", "firmware", "project folder in the worktree"),
    ("targets", "*", "env"): Setting("str", "", "PlatformIO environment (default: default_envs)"),
    ("targets", "*", "device"): Setting("str", "", "device that uploads of this target go to"),
    ("targets", "*", "chip"): Setting(
        "choice:esp32|esp32s2|esp32s3|esp32c3|esp32c6|none", "esp32s3", "chip the image must be for; none: no check"
    ),
    ("targets", "*", "partition_size"): Setting("size", 0, "largest image the app partition takes (0: no check)"),
    ("targets", "*", "build_id"): Setting(
        "choice:sha256|version|commit", "sha256", "what the device's build id is compared with"
    ),
    ("targets", "*", "filesystem_size"): Setting("size", 0, "size of the filesystem's partition (0: no check)"),
    ("targets", "*", "release_env"): Setting("str", "", "PlatformIO environment of `build --release`"),
    ("targets", "*", "release_flags"): Setting(
        "list", ["-O2", "-flto", "-ffat-lto-objects"], "flags of `build --release` where release_env names nothing"
    ),
    ("targets", "*", "script"): Setting("str", "build", "kind npm: the script that is run"),
    ("targets", "*", "script_release"): Setting(
        "str", "", "kind npm: the script of `build --release` (default: script)"
    ),
    ("targets", "*", "command"): Setting("list", [], "kind command: program and words; {jobs} is the number of jobs"),
    ("targets", "*", "command_release"): Setting("list", [], "kind command: program and words of `build --release`"),
    ("targets", "*", "outputs"): Setting(
        "list", [], "kinds npm and command: what a build leaves in the project, files or folders (globs; npm: dist)"
    ),
    ("build", "cache"): Setting(
        "choice:auto|ccache|objects|off", "auto", "objects shared by worktrees: through ccache where it is found"
    ),
    ("build", "cache_size"): Setting("size", 2 << 30, "largest size of the objects that are shared, under ops/builds"),
    ("build", "timeout"): Setting("duration", 900.0, "limit of one build"),
    ("build", "jobs"): Setting("int", 0, "compilers per build (0: cores / builds active)"),
    ("ota", "attempts"): Setting("int", 3, "attempts of an upload"),
    ("ota", "attempt_timeout"): Setting("duration", 300.0, "limit of one attempt"),
    ("ota", "retry_delay"): Setting("duration", 10.0, "before the second attempt; doubled for each further one"),
    ("ota", "idle_timeout"): Setting("duration", 20.0, "an attempt is given up when nothing moves for so long"),
    ("ota", "connect_timeout"): Setting("duration", 10.0, "a device that agreed to an update connects back within it"),
    ("ota", "login_timeout"): Setting("duration", 10.0, "how long an answer to a device's nonce is waited for"),
    ("ota", "invitations"): Setting("int", 10, "invitations sent before a device counts as offline"),
    ("ota", "invitation_interval"): Setting("duration", 1.0, "between two invitations"),
    ("test", "patterns"): Setting(
        "list", [], "patterns of `device test` when none is named (default: those with a baseline, else the one shown)"
    ),
    ("test", "duration"): Setting("duration", 10.0, "how long each pattern is sampled"),
    ("test", "settle"): Setting("duration", 2.0, "from a pattern's appearance to its first sample"),
    ("test", "regression"): Setting("int", 10, "percent by which a figure may be worse than its baseline"),
    ("test", "attempts"): Setting("int", 3, "a device that does not answer is tried so often before it is skipped"),
    ("test", "delay"): Setting("duration", 10.0, "between two of these attempts"),
    ("test", "lost"): Setting("duration", 30.0, "a device that is silent for so long in a test has vanished"),
    ("usb", "baud"): Setting("int", 921600, "rate that esptool writes with; without meaning on the S3's own USB"),
    ("usb", "stub"): Setting(
        "bool", True, "let esptool run its stub on the chip; false is slower, for chips that refuse it"
    ),
    ("usb", "connect_timeout"): Setting("duration", 30.0, "limit of a call of esptool that has not begun to write"),
    ("usb", "yield_timeout"): Setting("duration", 10.0, "how long a console of k1ctl may take to close the port"),
    ("escalation", "failures_agent"): Setting(
        "int", 1, "failed uploads and tests of a workspace that are its agent's to mend (0: never, and no prompts)"
    ),
    ("escalation", "failures_human"): Setting(
        "int", 2, "failed uploads of a workspace, none installed between, until a person is told (0: never)"
    ),
    ("escalation", "retrying"): Setting("duration", 900.0, "failing for so long, a person is told (0: never)"),
    ("escalation", "offline_human"): Setting(
        "duration", 180.0, "a person is told of a device without an answer (0: never)"
    ),
    ("escalation", "offline_incident"): Setting("duration", 600.0, "its queue is paused until it answers (0: never)"),
    ("escalation", "forget"): Setting("duration", 86400.0, "a failure that nothing followed is forgotten (0: never)"),
    ("notify", "command"): Setting("list", [], "program and words that get a notification as JSON on standard input"),
    ("notify", "timeout"): Setting("duration", 10.0, "limit of one channel"),
    ("notify", "apprise_file"): Setting("str", "", "file (0600) with one URL of apprise a line; they hold secrets"),
    ("notify", "apprise_env"): Setting("str", "", "name of the environment variable with URLs of apprise"),
    ("console", "baud"): Setting("int", 115200, "rate of the console; without meaning on the S3's own USB"),
    ("console", "keep"): Setting("int", 50, "logs kept of each device; older ones are removed"),
    ("console", "limit"): Setting("size", 8 << 20, "largest log; what comes after it goes into another one"),
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


def _presets() -> dict[Place, Any]:
    """The run targets that are there without a file, by their names of both generations of the K1 scripts."""
    web = {"path": "webapp"}
    serve = {**web, "command": ["npm", "run", "dev"], "interactive": True, "port": ["--", "--port", "{port}"]}
    heavy = {**web, "resources": ["build:web"]}
    fw, device = {"path": "{targets.fw.path}"}, "device:{defaults.device}"
    console, tree = "console:{defaults.device}", "tree:{tree}"
    entries: dict[str, dict[str, Any]] = {
        "web": {**serve, "about": "the web app's development server, as web:dev"},
        "web:dev": {**serve, "about": "the web app's development server"},
        "web:build": {"command": ["k1ctl", "build", "web"], "about": "build the web app"},
        "web:test": {**heavy, "command": ["npm", "run", "test"], "about": "the web app's tests"},
        "web:e2e": {**heavy, "command": ["npm", "run", "test:e2e"], "about": "the web app's end-to-end tests"},
        "fw:build": {"command": ["k1ctl", "build", "fw"], "about": "build the firmware"},
        "fw:upload": {"command": ["k1ctl", "upload", "fw", "--build"], "about": "build the firmware and flash it"},
        "fw:monitor": {
            **fw,
            "command": ["k1ctl", "device", "console"],
            "resources": [console],
            "interactive": True,
            "about": "the device's serial console",
        },
        "fw:test": {
            **fw,
            "command": ["pio", "test"],
            "resources": ["build:fw", tree, device],
            "about": "pio test; it holds the device, which it flashes unless the tests are native",
        },
        "test:pattern": {
            "resources": [device],
            "command": ["k1ctl", "device", "test"],
            "about": "compare what patterns cost on the device with their baselines",
        },
        "test:integration": {"resources": [device], "about": "your integration test on the device"},
    }
    return {("run_targets", name, key): value for name, entry in entries.items() for key, value in entry.items()}


_OBJECTIVES: dict[str, dict[str, Any]] = {
    "build-success": {"kind": "build", "percent": 95.0, "escalate": 2},
    "upload-success": {"kind": "upload", "percent": 98.0, "escalate": 1},
    "upload-time": {"kind": "upload", "percent": 90.0, "within": 60.0, "investigate": 120.0},
    "turn-time": {"kind": "turn", "percent": 90.0, "within": 900.0},
}
# defaults of sections whose names the user may choose
PRESETS: dict[Place, Any] = {
    **_presets(),
    **{("slo", name, key): value for name, entry in _OBJECTIVES.items() for key, value in entry.items()},
}

_NO_KEY = "does not belong here: set env (the name of a variable) or file (a path, 0600)"
FORBIDDEN: dict[Place, str] = {  # what must not stand in a file that is shared, and what to do instead
    ("devices", "*", "password"): "does not belong here: set password_env (the name of a variable) or password_file",
    **{
        ("budget", "keys", "*", n): _NO_KEY
        for n in ("value", "key", "api_key", "apikey", "token", "secret", "password")
    },
    ("budget", "github", "token"): "does not belong here: set token_env (the name of a variable)",
}

NO_TARGETS = ("all", "list", "show", "log")  # words of `k1ctl build`
OPEN = ("plugins",)  # [plugins.NAME] belongs to third-party plugins and is not checked


def find(place: Place) -> Setting | None:
    """The setting at ``place``, a user-chosen name matching ``*``; None when there is none."""
    exact = SETTINGS.get(place)
    if exact is not None:
        return exact
    for pattern in _named(len(place)):
        if all(p in ("*", k) for p, k in zip(pattern, place, strict=True)):
            return SETTINGS[pattern]
    return None


_patterns: dict[int, list[Place]] = {}


def _named(length: int) -> list[Place]:
    """The places of so many words with a ``*`` among them."""
    if not _patterns:
        for pattern in SETTINGS:
            if "*" in pattern:
                _patterns.setdefault(len(pattern), []).append(pattern)
    return _patterns.get(length, [])
