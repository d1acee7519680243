# made from the commands of k1ctl; change those, then run `make docs`
# Completion of k1ctl for fish 3. No process is started to list values: they are read from ops/ here.
# What may stand at the cursor is printed a line each, its description behind a tab; fish chooses what fits.

function __k1ctl
    set -l cursor (commandline -ct)
    set -l path
    set -l position 0
    set -l given
    set -l wanted
    set -l behind # the words behind --, when they are a command line of their own
    set -l ended
    set -l root
    set -l ops
    set -l git
    set -l queue
    set -l token
    set -l commands
    set -l command_abouts
    set -l options
    set -l option_abouts
    set -l arguments
    set -l runs
    set -l mixed
    __k1ctl_command ''
    set -l words (commandline -opc)
    for word in $words[2..]
        if test -n "$wanted"
            test "$wanted$path" = --root; and set root $word
            set wanted
        else if test -n "$ended"
            set position (math $position + 1)
            set -a behind $word
        else if test "$word" = --
            set ended 1
        else if string match -q -- '-?*' $word
            __k1ctl_given $word
        else if test $position = 0; and contains -- $word $commands
            set -a path $word
            set given
            __k1ctl_command "$path"
        else
            set position (math $position + 1)
            test -n "$mixed"; or set ended 1
        end
    end
    if test -n "$ended" -a -n "$runs"
        complete --do-complete="$(string join ' ' -- (string escape -- $behind) $cursor)"
    else if test -n "$wanted"
        __k1ctl_values (string replace -r '^[^=]*=' '' -- $token) '' $cursor
    else if test -z "$ended"; and string match -q -- '--*=*' $cursor
        set -l parts (string split -m 1 = -- $cursor)
        __k1ctl_option $parts[1]
        and string match -q '*=*' -- $token
        and __k1ctl_values (string replace -r '^[^=]*=' '' -- $token) $parts[1]= $parts[2]
    else if test -z "$ended"; and string match -q -- '-*' $cursor
        __k1ctl_options
    else
        if test $position = 0
            for i in $commands
                printf '%s\t%s\n' $i $command_abouts[(contains -i -- $i $commands)]
            end
        end
        __k1ctl_positional
    end
    return 0
end

# The entry of an option in $token: NAME[/NAME][+] of a flag, NAME[/NAME][+]=WORDS of one with a value.
function __k1ctl_option --no-scope-shadowing --argument-names __k1ctl_name
    set token (string match -r -- '^(?:[^=]*/)?'(string escape --style=regex -- $__k1ctl_name)'(?:[/+=].*)?$' $options)[1]
    test -n "$token"
end

# An option that stands before the cursor; its name in $wanted when its value is the next word.
function __k1ctl_given --no-scope-shadowing --argument-names __k1ctl_word
    set -l __k1ctl_head (string match -r -- '^(?:--[^=]*|-.)' $__k1ctl_word)
    __k1ctl_option $__k1ctl_head; or return
    set -a given $token
    if string match -q '*=*' -- $token; and test "$__k1ctl_word" = "$__k1ctl_head"
        set wanted $__k1ctl_head
    else if test "$__k1ctl_head$path" = --root
        set root (string replace -r '^[^=]*=' '' -- $__k1ctl_word)
    end
end

# Options that may still be given.
function __k1ctl_options --no-scope-shadowing
    for token in $options
        set -l __k1ctl_head (string replace -r '=.*' '' -- $token)
        if contains -- $token $given; and not string match -q '*+' -- $__k1ctl_head
            continue
        end
        set -l __k1ctl_about $option_abouts[(contains -i -- $token $options)]
        for __k1ctl_name in (string split / -- (string trim -r -c + -- $__k1ctl_head))
            printf '%s\t%s\n' $__k1ctl_name $__k1ctl_about
        end
    end
end

# Values of the argument that stands here; the last one takes the rest when it ends in +.
function __k1ctl_positional --no-scope-shadowing
    set -l __k1ctl_count 0
    for __k1ctl_argument in $arguments
        if test $__k1ctl_count = $position; or string match -q '*+' -- $__k1ctl_argument
            __k1ctl_values (string trim -r -c + -- $__k1ctl_argument) '' $cursor
            return
        end
        set __k1ctl_count (math $__k1ctl_count + 1)
    end
end

# Prints words, separated by commas, each behind a prefix; @NAME stands for what __k1ctl_NAME prints.
function __k1ctl_values --no-scope-shadowing --argument-names __k1ctl_words __k1ctl_prefix __k1ctl_typed
    set -l __k1ctl_found
    for __k1ctl_word in (string split , -- $__k1ctl_words)
        switch $__k1ctl_word
            case -
            case @file
                set -a __k1ctl_found (complete --do-complete="'' $__k1ctl_typed")
            case @folder
                set -a __k1ctl_found (complete --do-complete="'' $__k1ctl_typed" | string match -r '^[^\t]*/(?=\t|$)')
            case '@*'
                set -l __k1ctl_source __k1ctl_(string sub -s 2 -- $__k1ctl_word)
                set -a __k1ctl_found ($__k1ctl_source)
            case '*'
                set -a __k1ctl_found $__k1ctl_word
        end
    end
    string join \n -- $__k1ctl_prefix$__k1ctl_found
end

# The main checkout in $root (--root, K1CTL_ROOT, CONDUCTOR_ROOT_PATH, else around this folder), its git folder in $git,
# its ops/ in $ops, the folder of the queue in $queue. False when there is none.
function __k1ctl_root --no-scope-shadowing
    test -n "$ops"; and return
    set -l __k1ctl_folder (string match -v '' -- $root $K1CTL_ROOT $CONDUCTOR_ROOT_PATH)
    if set -q __k1ctl_folder[1]
        set __k1ctl_folder (string replace -r '^~(?=/|$)' $HOME -- $__k1ctl_folder[1])
        test -d "$__k1ctl_folder"; or return 1
        set root (builtin realpath -- $__k1ctl_folder)
        __k1ctl_checkout $root
    else
        set __k1ctl_folder (pwd -P)
        while not __k1ctl_checkout $__k1ctl_folder
            test "$__k1ctl_folder" = / -o -z "$__k1ctl_folder"; and return 1
            set __k1ctl_folder (string replace -r '/[^/]*$' '' -- $__k1ctl_folder)
        end
    end
    set ops $root/ops
    set queue $K1CTL_QUEUE_DIR
    if test -z "$queue" -a -r "$ops/k1ctl.toml"
        set queue (__k1ctl_section queue | string replace -rf '^\s*dir\s*=\s*["\']([^"\'\\\\]+)["\'].*' '$1')[1]
    end
    switch "$queue"
        case ''
            set queue $ops/queue
        case '/*'
        case '~' '~/*'
            set queue $HOME(string sub -s 2 -- $queue)
        case '*'
            set queue $root/$queue
    end
    return 0
end

# Whether a folder is the top of a checkout; $root and $git become the main checkout's (gitrepository-layout(5)).
function __k1ctl_checkout --no-scope-shadowing --argument-names __k1ctl_folder
    if test -d "$__k1ctl_folder/.git"
        set root $__k1ctl_folder
        set git $root/.git
        return 0
    end
    test -f "$__k1ctl_folder/.git" -a -r "$__k1ctl_folder/.git"; or return 1
    set -l __k1ctl_link (string replace -rf '^gitdir:\s*(.*?)\s*$' '$1' <$__k1ctl_folder/.git)[1]
    test -n "$__k1ctl_link"; or return 1
    string match -q '/*' -- $__k1ctl_link; or set __k1ctl_link $__k1ctl_folder/$__k1ctl_link
    set root $__k1ctl_folder
    set git $__k1ctl_link
    if test -r "$__k1ctl_link/commondir"
        read -l __k1ctl_common <$__k1ctl_link/commondir
        string match -q '/*' -- $__k1ctl_common; or set __k1ctl_common $__k1ctl_link/$__k1ctl_common
        set git (builtin realpath -- $__k1ctl_common)
        set root (string replace -r '/[^/]*$' '' -- $git)
    end
    return 0
end

# The lines of a table of ops/k1ctl.toml.
function __k1ctl_section --no-scope-shadowing --argument-names __k1ctl_table
    test -r "$ops/k1ctl.toml"; or return
    read -z -l __k1ctl_text <$ops/k1ctl.toml
    set __k1ctl_table (string escape --style=regex -- $__k1ctl_table)
    string match -r "(?ms)^[ \\t]*\\[$__k1ctl_table\\][^\\n]*\\n\\K.*?(?=^[ \\t]*\\[|\\z)" -- $__k1ctl_text
end

# The names of the tables [KIND.NAME] of ops/k1ctl.toml; one with escapes in it is left out.
function __k1ctl_names --no-scope-shadowing --argument-names __k1ctl_kind
    __k1ctl_root; and test -r "$ops/k1ctl.toml"; or return
    string replace -rf "^\\s*\\[$__k1ctl_kind\\.(?:\"([^\"\\\\[:cntrl:]]+)\"|'([^'\\\\[:cntrl:]]+)'|([^].= \"']+)).*" '$1$2$3' <$ops/k1ctl.toml
end

function __k1ctl_device --no-scope-shadowing
    __k1ctl_names devices
end

function __k1ctl_target --no-scope-shadowing
    __k1ctl_names targets
end

function __k1ctl_run_target --no-scope-shadowing
    __k1ctl_names run_targets
end

function __k1ctl_slots --no-scope-shadowing
    __k1ctl_section queue.slots | string replace -rf '^\s*(?:"([^"\\\\[:cntrl:]]+)"|\'([^\'\\\\[:cntrl:]]+)\'|([A-Za-z0-9_-]+))\s*=.*' '$1$2$3'
end

# Folder names of the main checkout and of its worktrees.
function __k1ctl_workspace --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_found $root
    for __k1ctl_file in $git/worktrees/*/gitdir
        test -r "$__k1ctl_file"; and read -l __k1ctl_line <$__k1ctl_file
        and set -a __k1ctl_found (string replace -r '/\.git$' '' -- $__k1ctl_line)
    end
    string replace -r '^.*/' '' -- $__k1ctl_found | string match -v -r '[[:cntrl:]]'
end

# A ticket's file name ends in its resources: w50.0000000012.4711.9f3c2a11.device:k1=1,build:fw=2; P.NAME pauses one.
function __k1ctl_resource --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_found device:(__k1ctl_names devices) build:(__k1ctl_names targets) (__k1ctl_slots)
    set -l __k1ctl_files $queue/tickets/*
    set -a __k1ctl_found (string replace -rf '^.*/(?:[wrp]\d+\.\d+\.\d+\.[^./]*|P)\.([^/[:cntrl:]]*)$' '$1' -- $__k1ctl_files \
        | string split , | string replace -r '=\d+$' '')
    set -l __k1ctl_files $queue/history/*
    set -a __k1ctl_found (string replace -rf '^.*/([^/[:cntrl:]]*)$' '$1' -- $__k1ctl_files)
    string match -r '^[A-Za-z0-9][A-Za-z0-9:_@+-]*$' -- $__k1ctl_found
end

function __k1ctl_ticket --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_files $queue/tickets/*
    for __k1ctl_state in w/waiting r/running p/parked
        set -l __k1ctl_pair (string split / $__k1ctl_state)
        string replace -rf '^.*/'$__k1ctl_pair[1]'\d+\.0*(\d+)\.\d+\.[^./]*\.([^/[:cntrl:]]*)$' \
            '$1'\t"$__k1ctl_pair[2] "'$2' -- $__k1ctl_files
    end
end

function __k1ctl_run --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_files $ops/runs/*
    set __k1ctl_files (string replace -rf '^.*/([0-9a-f.-]+)$' '$1' -- $__k1ctl_files)
    string join \n -- $__k1ctl_files[-1..-50]
end

function __k1ctl_archive --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_files $git/k1ctl/archive/*/manifest.json
    string replace -rf '^.*/(\d[A-Za-z0-9._-]*)/manifest\.json$' '$1' -- $__k1ctl_files
end

function __k1ctl_artifact --no-scope-shadowing
    __k1ctl_root; or return
    set -l __k1ctl_files $ops/artifacts/*/*
    string replace -rf '^.*/([^/[:cntrl:]]+)/([0-9a-f]{16})$' '$2'\t'$1' -- $__k1ctl_files
end

# Settings: devices.@.host stands for one of each device.
function __k1ctl_key --no-scope-shadowing
    set -l __k1ctl_found (string match -v '*@*' -- $__k1ctl_settings)
    for __k1ctl_pattern in (string match '*@*' -- $__k1ctl_settings)
        set -l __k1ctl_parts (string split @ -- $__k1ctl_pattern)
        set -l __k1ctl_names
        switch $__k1ctl_pattern
            case 'queue.slots.@*'
                __k1ctl_root; and set __k1ctl_names (__k1ctl_slots)
            case '*'
                set __k1ctl_names (__k1ctl_names (string trim -r -c . -- $__k1ctl_parts[1]))
        end
        set __k1ctl_names (string replace -r '^(.*[^A-Za-z0-9:_@+-].*)$' '"$1"' -- $__k1ctl_names)
        set -a __k1ctl_found $__k1ctl_parts[1]$__k1ctl_names$__k1ctl_parts[2]
    end
    string join \n -- $__k1ctl_found
end

# What a command takes. Options: NAME[/NAME][+][=WORDS]; + may be given again, WORDS are values, @ names a
# source. Arguments: WORDS[+], - is a value of the user's own. No options behind them where $mixed is empty.
function __k1ctl_command --no-scope-shadowing
    set commands
    set options
    set arguments
    set runs
    set mixed 1
    switch $argv[1]
        case ''
            set commands \
                'alert' \
                'archive' \
                'artifact' \
                'budget' \
                'build' \
                'capacity' \
                'completion' \
                'config' \
                'demo' \
                'device' \
                'doctor' \
                'events' \
                'hook' \
                'host' \
                'init' \
                'metrics' \
                'notify' \
                'plugins' \
                'queue' \
                'sim' \
                'slo' \
                'status' \
                'tools' \
                'top' \
                'upload' \
                'why' \
                'worktree'
            set command_abouts \
                'What is wrong for longer than it may be, and who is told' \
                'Save worktrees, remove the idle ones, bring them back' \
                'List, keep, drop and copy what builds made' \
                'What may be spent, what was, and which key and model to use now' \
                'Build in this worktree, in a slot, and keep the artifact' \
                'How many agents fit, whether one more may start, and what binds' \
                'Complete commands, devices, runs and more in your shell' \
                'Show and change what is set, and where it comes from' \
                'See agents build and flash a simulated device, with proof' \
                'Find, check, watch and test the devices, and talk to them' \
                'All plugins\' checks, with what mends what they find' \
                'Read the record of every decision, as it comes if wanted' \
                'Do the work of Conductor\'s setup, run and archive scripts' \
                'How the host fares' \
                'Make ops/ with a commented ops/k1ctl.toml that fits this host' \
                'Samples for a monitoring stack' \
                'See and try the channels over which people are told' \
                'List the plugins, what they add, and which are broken' \
                'Stand in line for what there is only one of, or only N of' \
                'Run a K1 without hardware, with faults on demand' \
                'Objectives, and what is left of their error budgets' \
                'One screen of what runs, what waits and what fails' \
                'Install and inspect the build tools that k1ctl brings itself' \
                'Watch workspaces, queue, devices and host live, in a terminal' \
                'Flash a build over the network or USB and tell what became of it' \
                'Why something waits, was refused or failed' \
                'Make worktrees, set them up, look after them'
            set options \
                '--root=@folder' \
                '--version' \
                '-h/--help'
            set option_abouts \
                'The main checkout whose ops/ is used (default: found through git)' \
                'Show the version and exit' \
                'Show this message and exit'
        case 'alert'
            set commands \
                'check' \
                'list' \
                'silence'
            set command_abouts \
                'Look at everything that has a rule, and tell people what is new: for cron' \
                'Show what fires and what is about to, as the last check found it' \
                'Tell nobody of an alert for a while'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'alert check'
            set options \
                '--notify' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Tell people, over the channels of `k1ctl notify list`' \
                'Say what would fire and be told' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'alert list'
            set options \
                '--all' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Also what is over since less than a day' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'alert silence'
            set options \
                '--for=-' \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'How long' \
                'Why' \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'queue,success,disk,device,escalation,burn,budget,exporter,host'
        case 'archive'
            set commands \
                'list' \
                'pull' \
                'purge' \
                'push' \
                'restore' \
                'run' \
                'save' \
                'schedule' \
                'show' \
                'verify'
            set command_abouts \
                'List the archives, here or in a store' \
                'Bring an archive from a store, to restore it here' \
                'Delete archives for good, past their retention; asks a person' \
                'Copy archives to a store off this host' \
                'Bring a worktree back from its archive' \
                'Archive the worktrees that nobody works in, or those that are named' \
                'Save a worktree in the archive, and change nothing in it' \
                'Have cron or launchd archive what is idle, once a week' \
                'Show an archive: what it holds, how to restore it, what a purge would do' \
                'Check that archives are whole and could be restored'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'archive list'
            set options \
                '--store=-' \
                '--repository=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Those in the store [stores.NAME]' \
                'As which it was pushed (default: by `origin`)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'archive pull'
            set options \
                '--store=-' \
                '--repository=-' \
                '--trust' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The store [stores.NAME] (default: archive.store)' \
                'As which it was pushed (default: by `origin`)' \
                'Also one that holds what git would run: settings, hooks' \
                'Say what would be got' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'archive purge'
            set options \
                '--older-than=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only older ones' \
                'Show the plan' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@archive+'
        case 'archive push'
            set options \
                '--all' \
                '--store=-' \
                '--init-store' \
                '--tracked-secrets' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Every archive' \
                'The store [stores.NAME] (default: archive.store)' \
                'Say that its folder is the right one, mounted, and new' \
                'Also send commits with secrets\' names, reflogs with logins' \
                'Say what would be sent' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@archive+'
        case 'archive restore'
            set options \
                '--to=-' \
                '--branch=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where it is put (default: where it was)' \
                'Put it on a new branch of this name' \
                'Check the archive and change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@archive'
        case 'archive run'
            set options \
                '--older-than=-' \
                '--include+=-' \
                '--exclude+=-' \
                '--branch-policy=keep,delete-if-merged' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Idle for so long (default: archive.older_than)' \
                'Only those of this name or path (repeatable)' \
                'None of this name or path (repeatable)' \
                'What becomes of the branch (default: archive.branch_policy)' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace+'
        case 'archive save'
            set options \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Why, as `archive list` will tell' \
                'Write nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace'
        case 'archive schedule'
            set options \
                '--print' \
                '--install' \
                '--remove' \
                '--cron' \
                '--launchd' \
                '--at=-' \
                '--every=weekly,daily' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print the entry' \
                'Put the entry in place, or change the one there' \
                'Take the entry of this repository away' \
                'The user\'s crontab (default, but on macOS)' \
                'A launch agent (default on macOS)' \
                'As in "Sat 03:00"' \
                'How often it runs' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'archive show'
            set options \
                '--files' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Also the names of what it holds' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@archive'
        case 'archive verify'
            set options \
                '--all' \
                '--quick' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Every archive' \
                'Only whether all is there, not what is in it' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@archive+'
        case 'artifact'
            set commands \
                'list' \
                'pin' \
                'prune' \
                'pull' \
                'push' \
                'show' \
                'unpin'
            set command_abouts \
                'List the artifacts: who built each, its size, and why it is kept' \
                'Keep artifacts until they are unpinned, whatever room they take' \
                'Remove the oldest artifacts that nothing keeps, down to the limit' \
                'Fetch artifacts from a store, checked' \
                'Copy artifacts to a store off this host' \
                'Show one artifact: its files, who built it, why it is kept' \
                'Take a pin away: the artifact goes when room is needed and nothing else keeps it'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'artifact list'
            set options \
                '--workspace=@workspace' \
                '--verify' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only what this workspace built last' \
                'Read every file and compare its SHA-256' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@target'
        case 'artifact pin'
            set options \
                '--target=@target' \
                '--reason=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where an id is that of several targets' \
                'Why' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@artifact+'
        case 'artifact prune'
            set options \
                '--limit=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Default: artifact.limit (100M)' \
                'Remove nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'artifact pull'
            set options \
                '--target=@target' \
                '--store=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where an id is that of several targets' \
                'Of [stores.NAME] (default: artifact.store)' \
                'Fetch nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@artifact+'
        case 'artifact push'
            set options \
                '--target=@target' \
                '--store=-' \
                '--init-store' \
                '--again' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where an id is that of several targets' \
                'Of [stores.NAME] (default: artifact.store)' \
                'Make the store ready for its first use' \
                'Send also what is there: it may be damaged' \
                'Send nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@artifact+'
        case 'artifact show'
            set options \
                '--target=@target' \
                '--verify' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where an id is that of several targets' \
                'Read every file and compare its SHA-256' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@artifact'
        case 'artifact unpin'
            set options \
                '--target=@target' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where an id is that of several targets' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@artifact+'
        case 'budget'
            set commands \
                'check' \
                'export' \
                'extend' \
                'github' \
                'history' \
                'keys' \
                'model' \
                'release' \
                'reserve' \
                'run' \
                'set' \
                'settle' \
                'status' \
                'sync' \
                'verify'
            set command_abouts \
                'Tell whether there is budget for a need now: exit 0 or 75' \
                'Print the record or the spend as JSON lines or CSV' \
                'Keep a hold for longer' \
                'Show what is left of GitHub\'s limits; pace writes to it' \
                'What was spent, by day, agent, task, pool, model or hour' \
                'Take turns with the keys of several accounts' \
                'Print the model to use now for a kind of task' \
                'Give holds back unspent' \
                'Hold tokens before they are spent; prints the hold\'s id' \
                'Reserve, run a command, and settle what it used' \
                'Set the limits in ops/k1ctl.toml' \
                'Book what was really used under a hold, once' \
                'What is spent and held today, of what limit, and by whom' \
                'Book what agents really used, from their own transcripts' \
                'Replay the record and prove that every sum comes out'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'budget check'
            set options \
                '--need=-' \
                '--agent=-' \
                '--task=-' \
                '--pool=-' \
                '--model=-' \
                '--critical' \
                '--usd=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'As 50k' \
                'Who spends it (default: the workspace\'s name)' \
                'The task it is spent on' \
                'As firmware, web, test, research' \
                'The model that is used' \
                'It may use the reserve pool' \
                'Dollars (default: by the model\'s price)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget export'
            set options \
                '--what=record,spend' \
                '--format=jsonl,csv' \
                '--since=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Every change, or sums' \
                'How' \
                'From this day on, as 2026-11-21' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget extend'
            set options \
                '--ttl=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'At least so long from now (default: 10m)' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'budget github'
            set options \
                '--from-headers=@file' \
                '--refresh' \
                '--pace' \
                '--wait=-' \
                '--resource=@resource' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Learn from answers\' headers' \
                'Ask /rate_limit, with the token in the variable github.token_env' \
                'Reserve the next request that creates content, and wait for its moment' \
                'With --pace, wait at most D' \
                'With --pace, whose limit it is of' \
                'With --pace, tell only whether it would go now' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget history'
            set options \
                '--days=-' \
                '--by+=day,agent,task,pool,model,hour' \
                '--agent=-' \
                '--task=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'So many, with today' \
                'Sums by this' \
                'Only this agent\'s' \
                'Only this task\'s' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget keys'
            set commands \
                'list' \
                'next' \
                'report'
            set command_abouts \
                'List keys by name with what their accounts have left' \
                'Print where the key to use now is, its use reserved' \
                'Tell what a call with a key came to, by its HTTP status'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'budget keys list'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget keys next'
            set options \
                '--tokens=-' \
                '--provider=-' \
                '--bucket=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Tokens the call is expected to use, as 20k' \
                'Keys of this provider\'s accounts only' \
                'Keys of this account only' \
                'Tell which it would be' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget keys report'
            set options \
                '--status=-' \
                '--retry-after=-' \
                '--tokens=-' \
                '--id=-' \
                '--lift' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Its HTTP status' \
                'The answer\'s Retry-After: seconds, or a date' \
                'Tokens the call really used (default: as reserved)' \
                'The reservation, as `next --json` tells it' \
                'End its account\'s cool-down too: what was told of it was wrong' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'budget model'
            set options \
                '--for=-' \
                '--tokens=-' \
                '--agent=-' \
                '--task=-' \
                '--pool=-' \
                '--report=ok,limit,error' \
                '--model=-' \
                '--provider=-' \
                '--until=-' \
                '--all-models' \
                '--lift' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The kind of task: a chain of [budget.chains]' \
                'Tokens the call is expected to use, as 50k' \
                'Whose budget counts (default: this workspace)' \
                'The task whose lifetime limit counts' \
                'The pool whose limit counts' \
                'Tell what became of a call of --model' \
                'With --report: the model that was called' \
                'With --report: whose, where several serve it' \
                'With --report: when it ends, as 5h or 2026-03-01T17:00:00Z' \
                'With --report limit: it is of all models of the provider' \
                'With --report ok: it may be used now, whatever was told of it before' \
                'Tell which it would be' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget release'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Tell what would be given back' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
        case 'budget reserve'
            set options \
                '--agent=-' \
                '--task=-' \
                '--pool=-' \
                '--model=-' \
                '--critical' \
                '--input=-' \
                '--output=-' \
                '--cache-write=-' \
                '--cache-read=-' \
                '--usd=-' \
                '--ttl=-' \
                '--owner-pid=-' \
                '--id=-' \
                '--wait=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Who spends it (default: the workspace\'s name)' \
                'The task it is spent on' \
                'As firmware, web, test, research' \
                'The model that is used' \
                'It may use the reserve pool' \
                'Input tokens, those from the cache left out' \
                'Output tokens' \
                'Tokens written to the cache' \
                'Tokens read from the cache' \
                'Dollars (default: by the model\'s price)' \
                'How long it holds at most (default: 10m)' \
                'It also ends with this process' \
                'An id of your own: a repeated call finds the same hold' \
                'Wait at most D for room' \
                'Hold nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'budget run'
            set options \
                '--estimate=-' \
                '--agent=-' \
                '--task=-' \
                '--pool=-' \
                '--model=-' \
                '--critical' \
                '--usd=-' \
                '--wait=-' \
                '--settle-from=@file' \
                '--settle-by=estimate,sync' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'What it will use, as 50k' \
                'Who spends it (default: the workspace\'s name)' \
                'The task it is spent on' \
                'As firmware, web, test, research' \
                'The model that is used' \
                'It may use the reserve pool' \
                'Dollars (default: by the model\'s price)' \
                'Wait at most D for budget' \
                'What it used: FILE, which it writes (JSON)' \
                'Where it does not say: book the estimate, or keep the hold for `budget sync`' \
                'Run nothing, hold nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
            set runs \
                '1'
        case 'budget set'
            set options \
                '--day=-' \
                '--agent-day=-' \
                '--task=-' \
                '--hour=-' \
                '--pool+=-' \
                '--reserve-pool=-' \
                '--day-usd=-' \
                '--agent-day-usd=-' \
                '--task-usd=-' \
                '--hour-usd=-' \
                '--soft=-' \
                '--zone=-' \
                '--weight+=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Tokens a day, as 3M' \
                'Tokens a day and agent' \
                'Tokens of a task over its whole life' \
                'Tokens an hour' \
                'Tokens a day of a pool' \
                'Of --day, what only critical work may use' \
                'Dollars a day' \
                'Dollars a day and agent' \
                'Dollars of a task over its whole life' \
                'Dollars an hour' \
                'Percents that are told as events, as 60,80,95' \
                'Zone that days begin in, as Europe/Oslo' \
                'What a token of a class counts for' \
                'Show the change' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget settle'
            set options \
                '--input=-' \
                '--output=-' \
                '--cache-write=-' \
                '--cache-read=-' \
                '--usd=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Input tokens, those from the cache left out' \
                'Output tokens' \
                'Tokens written to the cache' \
                'Tokens read from the cache' \
                'Dollars (default: by the model\'s price)' \
                'Book nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-' \
                '-'
        case 'budget status'
            set options \
                '--agent=-' \
                '--task=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only this agent\'s' \
                'Only this task\'s' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget sync'
            set options \
                '--since=-' \
                '--from+=@folder' \
                '--offline' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only what was written since: 2h, 7d, or a date (2026-11-21)' \
                'Read this folder instead' \
                'Use the prices that are here' \
                'Read and tell' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'budget verify'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'build'
            set commands \
                'list' \
                'log' \
                'show'
            set command_abouts \
                'List the builds of this repository\'s workspaces, the newest first' \
                'Print what a build\'s tools said' \
                'Show one build: how it went and what it made'
            set options \
                '--env=-' \
                '--release' \
                '--clean' \
                '--keep-going' \
                '--wait=-' \
                '--timeout=-' \
                '--priority=critical,high,normal,low' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Environment to build (default: the target\'s)' \
                'Optimise as for a release (PlatformIO: release_env or LTO)' \
                'Build anew: remove what earlier builds left, take nothing from caches' \
                'Build the other targets when one failed' \
                'Wait in line at most D' \
                'Stop a build after D (default: build.timeout)' \
                'Who goes first' \
                'Say what would be run and do nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'all,@target+'
        case 'build list'
            set options \
                '--workspace=@workspace' \
                '--target=@target' \
                '--limit=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only builds of this workspace' \
                'Only builds of this target' \
                'How many (0: all kept)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'build log'
            set options \
                '-f/--follow' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Go on until the build is over' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@run'
        case 'build show'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@run'
        case 'capacity'
            set commands \
                'baseline' \
                'check' \
                'forecast' \
                'list' \
                'plan' \
                'release' \
                'run' \
                'show' \
                'stress'
            set command_abouts \
                'Measure what a command takes: peak memory, CPU, leaks, cost of a container' \
                'Tell whether there is room for a need now: exit 0 or 75' \
                'Instances that a demand needs, the wait it implies, and when this host is outgrown' \
                'List what is promised to whom on this host, and what of it is seen' \
                'Turn times of a load, what binds, and what would help' \
                'Give a reservation back' \
                'Run a command with room promised to it and limits that hold' \
                'How many agents fit, what is promised, and what binds' \
                'Find by measuring how many agents fit, and with how much memory each'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'capacity baseline'
            set options \
                '--interval=-' \
                '--class=-' \
                '--duration=-' \
                '--pid=-' \
                '--container=-' \
                '--plot=@file' \
                '--label=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Time between two looks (default: 1s)' \
                'Learn for small, medium, large, or another class' \
                'End it after D: TERM, grace, KILL' \
                'Watch what runs already' \
                'Run it once more in IMAGE and tell the difference' \
                'Draw it to FILE as well, .svg or .png' \
                'What it is called instead of the command' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
            set runs \
                '1'
            set mixed
        case 'capacity check'
            set options \
                '--need=-' \
                '--class=-' \
                '--wait=-' \
                '--reduce' \
                '--reserve' \
                '--ttl=-' \
                '--owner-pid=-' \
                '--priority=critical,high,normal,low' \
                '--facts=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'As mem=4G,cpu=2,tokens=10k,disk=1G,build:fw=1' \
                'Needs the memory that runs of this class took' \
                'Wait at most D for room' \
                'Where not all of it fits, take what does, a tenth at least' \
                'Reserve it in the same step and print the reservation\'s id' \
                'How long a reservation holds (default: 10m)' \
                'The reservation ends with this process' \
                'Before whom it would come' \
                'Ask for the host that FILE describes (show --json)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'capacity forecast'
            set options \
                '--tasks-per-hour=-' \
                '--hours-per-task=-' \
                '--concurrency=-' \
                '--efficiency=-' \
                '--growth=-' \
                '--months=-' \
                '--hosts=-' \
                '--days=-' \
                '--facts=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The demand (default: turns, as usual)' \
                'How long an agent works on one' \
                'Tasks that an instance works on at once' \
                'Share of its time that is used' \
                '10%/month, or as in history' \
                'Months ahead' \
                'Instances there are now' \
                'Days of history that the usual load is from' \
                'Another host: its facts as JSON' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'capacity list'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'capacity plan'
            set options \
                '--scenario=usual,light,mixed,heavy,burst,all' \
                '--agents=-' \
                '--what-if+=-' \
                '--turns=-' \
                '--seed=-' \
                '--days=-' \
                '--no-history' \
                '--plot=@file' \
                '--facts=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The load: usual is this host\'s own' \
                'Workspaces, instead of the load\'s number' \
                'Another host or load beside it: ' \
                'Turns to simulate for each load' \
                'The same seed gives the same answer' \
                'Days of history that count' \
                'The annex\'s load as documented, with this host\'s slots' \
                'Turn times over the number of agents, as .svg or .png' \
                'Another host: its facts as JSON' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'capacity release'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Tell what would be given back' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
        case 'capacity run'
            set options \
                '--need=-' \
                '--mem-limit=-' \
                '--cpu-limit=-' \
                '--wait=-' \
                '--timeout=-' \
                '--priority=critical,high,normal,low' \
                '--label=-' \
                '--class=-' \
                '--oom-retries=-' \
                '--result=@file' \
                '--reduce' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'What it needs, as mem=4G,cpu=2,build:fw=1 (default: --mem-limit)' \
                'Memory the whole tree may use' \
                'Cores it may use, as 2 or 0.5' \
                'Wait at most D for room (default: not at all)' \
                'Stop the command after D: TERM, grace, KILL' \
                'Who goes first' \
                'What others see instead of the command' \
                'Class of its history, and of what it needs' \
                'Tries with more memory after an OOM' \
                'Write the result as JSON: limits, peak, verdict' \
                'Take what fits now where there is no room for all of it' \
                'Run nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
            set runs \
                '1'
        case 'capacity show'
            set options \
                '--explain' \
                '--facts=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Every step: matrix, base and slots, turns, all bounds, and the sources' \
                'Another host: its facts as JSON, as --json has them under facts' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'capacity stress'
            set options \
                '--agents=-' \
                '--mem=-' \
                '--cpu=-' \
                '--jobs=-' \
                '--repeat=-' \
                '--timeout=-' \
                '--wait=-' \
                '--fresh' \
                '--dry-run' \
                '--apply' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Copies of CMD at once' \
                'Memory limit of a copy' \
                'Cores a copy may use' \
                'Runs a cell, at least' \
                'Runs of each copy, instead of --jobs' \
                'Stop a run after D' \
                'Wait at most D for room on the host (default: no limit)' \
                'Begin anew where an interrupted call would be gone on with' \
                'Run nothing' \
                'Write the recommendation into ops/k1ctl.toml' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
            set runs \
                '1'
        case 'completion'
            set options \
                '--install' \
                '--plugins' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Put the file where the shell looks for it, instead of printing it' \
                'Write it anew, with the commands of the plugins installed here' \
                'With --install: say what would be put where' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'bash,zsh,fish'
        case 'config'
            set commands \
                'edit' \
                'get' \
                'path' \
                'set' \
                'show' \
                'unset'
            set command_abouts \
                'Edit the file; what is wrong never gets in' \
                'Print one value: durations in seconds, sizes in bytes, a list one item a line' \
                'Print where the configuration file is, or would be' \
                'Set one value in the file; comments stay' \
                'Print every value, its origin and its meaning' \
                'Take one value out of the file; comments stay'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'config edit'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'config get'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@key'
        case 'config path'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'config set'
            set options \
                '--rewrite' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where one line will not do: write all anew, without comments' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@key' \
                '-+'
        case 'config show'
            set options \
                '--changed' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Leave out what has its default' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'config unset'
            set options \
                '--rewrite' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where one line will not do: write all anew, without comments' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@key'
        case 'demo'
            set options \
                '--agents=-' \
                '--keep' \
                '--pace=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Worktrees that work at once' \
                'Keep the repository for a look around' \
                'Bytes a second the device takes' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'device'
            set commands \
                'console' \
                'disable' \
                'discover' \
                'enable' \
                'escalation' \
                'health' \
                'info' \
                'list' \
                'logs' \
                'metrics' \
                'rollback' \
                'test' \
                'watch'
            set command_abouts \
                'Show what the device says on its serial port, and talk to it' \
                'Put a device out of service: nobody new gets it' \
                'Find boards in the network and on USB, and say which are configured' \
                'Put a device into service again' \
                'Show how far a device\'s trouble has come, why, and what comes next' \
                'Say whether the device is there, the right one, and well' \
                'Tell all that is known of a device, and where its views contradict each other' \
                'List the configured devices: how each is, who has it, what it was sent last' \
                'Print what the device said on its serial port' \
                'Collect all metrics of the device, with what is missing and why' \
                'Put the last image that passed its soak back on the device' \
                'Measure patterns on the device and compare them with their baselines' \
                'Show how devices are, as it changes, and resets that no run explains'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'device console'
            set options \
                '--reset' \
                '--for=-' \
                '--send+=-' \
                '--expect+=-' \
                '--timeout=-' \
                '--fail-on-panic' \
                '--wait=-' \
                '--elf=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Reset the device once the port is open' \
                'End after D' \
                'Send TEXT' \
                'Wait until REGEX was seen (in the text without colours)' \
                'Limit of each --expect' \
                'End with exit 1 when the device panics' \
                'Wait at most D for who has the console' \
                'ELF file that backtraces are decoded with (default: the one the device names, else that of ' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device disable'
            set options \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Why' \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device discover'
            set options \
                '--interface=-' \
                '--timeout=-' \
                '--usb-only' \
                '--mdns-only' \
                '--toml' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Listen on this interface only (default: on all)' \
                'How long to listen to the network (default: 3s)' \
                'Look at the serial ports only' \
                'Listen to the network only' \
                'Print sections of ops/k1ctl.toml for the boards that are new' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'device enable'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device escalation'
            set options \
                '--check' \
                '--close' \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Ask the devices, go on with the ladder, tell who is to be told: for cron' \
                'End the escalation of NAME' \
                'With --close: why' \
                'With --close: say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device health'
            set options \
                '--wait=-' \
                '--max-age=-' \
                '--format=text,nagios' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Ask again until it is there, at most for D' \
                'An answer that old will do (default: [device] window)' \
                'nagios: as its plugins print, with performance data' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device info'
            set options \
                '--interface=-' \
                '--timeout=-' \
                '--max-age=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Listen on this interface (default: the device\'s own)' \
                'How long to listen to mDNS (default: 3s)' \
                'An answer that old will do (default: [device] window)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device list'
            set options \
                '--max-age=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'An answer that old will do (default: [device] window)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'device logs'
            set options \
                '--list' \
                '--last' \
                '--since=-' \
                '--follow/-f' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'List them, do not print them' \
                'Only those of the last session' \
                'Only those written to in the last D' \
                'Print what comes, too, also of later sessions, until ^C' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device metrics'
            set options \
                '--timeout=-' \
                '--format=text,json,prom' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'All of it ends in D' \
                'prom: the text format of Prometheus, for its textfile collector' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device rollback'
            set options \
                '--list' \
                '--to=-' \
                '--soak=-' \
                '--via=auto,ota,usb' \
                '--force' \
                '--wait-limit=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Show what is known of the device\'s images, and change nothing' \
                'This image instead of the last one' \
                'Watch it for D (default: the device\'s soak, else as before)' \
                'As in k1ctl upload' \
                'Also when the device runs that image already' \
                'Wait in line at most D' \
                'Say what would be sent' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@device'
        case 'device test'
            set options \
                '--device=any,@device' \
                '--duration=-' \
                '--record' \
                '--strict' \
                '--all' \
                '--junit=@file' \
                '--wait=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Which device, or group: a free one (default: [defaults] device)' \
                'Sample each pattern for D (default: [test] duration)' \
                'Make what is measured the new baseline' \
                'A pattern without a baseline fails' \
                'Test every pattern the device has' \
                'Write the results as JUnit XML, whatever they are' \
                'Wait in line at most D' \
                'Say what would be tested and do nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-+'
        case 'device watch'
            set options \
                '--interval=-' \
                '--for=-' \
                '--jsonl' \
                '-h/--help'
            set option_abouts \
                'Between two looks (default: 2s' \
                'End after D (default: with ^C)' \
                'Print a JSON document for each answer' \
                'Show this message and exit'
            set arguments \
                '@device+'
        case 'doctor'
            set options \
                '-a/--all' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Show what is in order, too' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'alert,archive,budget,capacity,config,device,events,hook,host,metrics,notify,plugins,queue,tools,worktree+'
        case 'events'
            set commands \
                'compact' \
                'list' \
                'stats' \
                'tail'
            set command_abouts \
                'Compress past days, remove what is older than is kept' \
                'Print past events, oldest first; compressed days too' \
                'Print percentiles of any figure in the events' \
                'Print the last events and, with -f, those that come'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'events compact'
            set options \
                '--older=-' \
                '--keep=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Compress days that ended so long ago (default: events.compress, 2d)' \
                'Remove days that ended so long ago (default: events.keep, 0: none)' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'events list'
            set options \
                '--since=-' \
                '--until=-' \
                '--limit=-' \
                '-f/--follow' \
                '--event+=-' \
                '--run=@run' \
                '--workspace=@workspace' \
                '--ticket=-' \
                '--jsonl' \
                '--json' \
                '-h/--help'
            set option_abouts \
                '1h, 2d, or a time such as 2026-01-31T10:00Z' \
                'Before then' \
                'Only the last N of what matches' \
                'Go on with new events as they come, until ^C' \
                'Only these (queue.*)' \
                'Only events of this run' \
                'Only events of this workspace' \
                'Only events of this ticket' \
                'Print one JSON document a line' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'events stats'
            set options \
                '--by=-' \
                '--since=-' \
                '--until=-' \
                '--event+=-' \
                '--run=@run' \
                '--workspace=@workspace' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Told apart by event, workspace, target or any other field' \
                '1h, 2d, or a time such as 2026-01-31T10:00Z' \
                'Before then' \
                'Only these (queue.*)' \
                'Only events of this run' \
                'Only events of this workspace' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'events tail'
            set options \
                '-f/--follow' \
                '-n/--lines=-' \
                '--event+=-' \
                '--run=@run' \
                '--workspace=@workspace' \
                '--jsonl' \
                '-h/--help'
            set option_abouts \
                'Go on with new events as they come, until ^C' \
                '' \
                'Only these (queue.*)' \
                'Only events of this run' \
                'Only events of this workspace' \
                'Print one JSON document a line' \
                'Show this message and exit'
        case 'hook'
            set commands \
                'archive' \
                'run' \
                'setup' \
                'weekly'
            set command_abouts \
                'Let go of what a workspace holds, and save what would be lost with it' \
                'Run the target that is named, or that RUN_TARGET or K1_TARGET names' \
                'Prepare this workspace: the work of `k1ctl worktree setup`, in this process' \
                'Archive, prune and compress what is old: the work of the weekly script'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'hook archive'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'hook run'
            set options \
                '--list' \
                '--dry-run' \
                '--result=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'List the run targets that there are' \
                'Say what would be run and do nothing' \
                'Write the result as JSON: whose exit code it is, and why' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'web,web:dev,web:build,web:test,web:e2e,fw:build,fw:upload,fw:monitor,fw:test,test:pattern,test:integration,@run_target' \
                '@file+'
            set mixed
        case 'hook setup'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'hook weekly'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'host'
            set commands \
                'doctor' \
                'health'
            set command_abouts \
                'Find out which limits hold here, and what would help' \
                'Say whether the host stalls, and what is about to'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'host doctor'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'host health'
            set options \
                '--format=text,nagios' \
                '--strict' \
                '--facts=@file' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'nagios: as its plugins print, with performance data' \
                'What should be known and is not is worse than a warning (exit 3)' \
                'Judge the host that this file describes (default: K1CTL_FACTS)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'init'
            set options \
                '--dry-run' \
                '--conductor=json,toml,auto' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Change nothing' \
                'Also write Conductor\'s scripts and its file, and take an existing conductor.json over' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'metrics'
            set commands \
                'json' \
                'print' \
                'rules' \
                'serve' \
                'write'
            set command_abouts \
                'Print the annex\'s eight figures as JSON' \
                'Print the samples' \
                'Write rules for Prometheus and a dashboard for Grafana' \
                'Serve the samples to Prometheus, on 127.0.0.1' \
                'Write the samples into a file for node_exporter'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'metrics json'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'metrics print'
            set options \
                '--format=prometheus,openmetrics' \
                '--no-aliases' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Text format of Prometheus (0.0.4) or OpenMetrics (1.0.0)' \
                'Leave out the annexes\' names (default: [metrics] aliases)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'metrics rules'
            set options \
                '--out=@folder' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Where to (default: ops/metrics)' \
                'Say what would be written, write nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'metrics serve'
            set options \
                '--port=-' \
                '--no-aliases' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Port, 0: any free one (default: metrics.port, 8080)' \
                'Leave out the annexes\' names (default: [metrics] aliases)' \
                'Say where it would serve, and whether the port can be had' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'metrics write'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Take the samples, say what would be written, write nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@file'
        case 'notify'
            set commands \
                'list' \
                'test'
            set command_abouts \
                'List the channels that are configured, and whether each can work' \
                'Send a notification for trying through every channel, and say what became of each'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'notify list'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'notify test'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Check every channel and send nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'plugins'
            set options \
                '--check' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Exit 1 when a plugin is broken' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'queue'
            set commands \
                'acquire' \
                'bump' \
                'cancel' \
                'history' \
                'list' \
                'pause' \
                'resume' \
                'run' \
                'show' \
                'stats' \
                'submit' \
                'ticket' \
                'wait'
            set command_abouts \
                'Wait until the ticket that the calling script has open as descriptor N is let in' \
                'Move a waiting ticket before all others of its priority, or into another priority' \
                'Take a ticket out of the line, or stop its command (TERM, grace, KILL)' \
                'Show the runs that are over, newest first' \
                'Show who holds what and who waits, in the order of service' \
                'Let nobody new have RESOURCE; who runs goes on, who waits keeps the place' \
                'Undo a pause' \
                'Run CMD when every RESOURCE has room, and exit with its status' \
                'Show one ticket or run: where it stands, who is ahead, or how it ended' \
                'Show what runs waited and took, by resource and by workspace' \
                'Put CMD in line and print its run id at once; `queue wait RUN` tells how it ended' \
                'Make a ticket for a script and print its path' \
                'Wait until a run is over and exit with its status'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'queue acquire'
            set options \
                '--fd=-' \
                '--wait=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The descriptor of the ticket' \
                'Wait in line at most D' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'queue bump'
            set options \
                '--priority=critical,high,normal,low' \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Into this one, at its number\'s place' \
                'Why' \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@ticket'
        case 'queue cancel'
            set options \
                '--json' \
                '--dry-run' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Say what would be cancelled' \
                'Show this message and exit'
            set arguments \
                '@ticket'
        case 'queue history'
            set options \
                '--workspace=@workspace' \
                '--limit=-' \
                '--jsonl' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only runs of this workspace' \
                'At most N' \
                'Print one JSON document a line' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@resource'
        case 'queue list'
            set options \
                '--json' \
                '--resource=@resource' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Only tickets for this resource' \
                'Show this message and exit'
        case 'queue pause'
            set options \
                '--reason=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'What others see' \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@resource'
        case 'queue resume'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Say what would be done' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@resource'
        case 'queue run'
            set options \
                '--wait=-' \
                '--timeout=-' \
                '--priority=critical,high,normal,low' \
                '--retries=-' \
                '--backoff=fixed,exponential' \
                '--delay=-' \
                '--key=-' \
                '--label=-' \
                '--result=@file' \
                '--need=-' \
                '--on-caller-exit=stop,keep' \
                '-h/--help'
            set option_abouts \
                'Wait in line at most D' \
                'Stop the command after D: TERM, grace, KILL' \
                'Who goes first' \
                'Try again up to N times' \
                'How --delay grows' \
                'Wait D before trying again' \
                'Whose place this is (default: workspace, what, command)' \
                'What others see instead of the command' \
                'Write the result as JSON: whose code it is, and why' \
                'Have the host promise it, as mem=4G,cpu=2 (75: none)' \
                'What happens to the running command when this call is killed' \
                'Show this message and exit'
            set arguments \
                '@resource+'
            set runs \
                '1'
        case 'queue show'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@ticket,@run'
        case 'queue stats'
            set options \
                '--since=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Only runs that were queued in the last D, as in 1d' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'queue submit'
            set options \
                '--wait=-' \
                '--timeout=-' \
                '--priority=critical,high,normal,low' \
                '--retries=-' \
                '--backoff=fixed,exponential' \
                '--delay=-' \
                '--key=-' \
                '--label=-' \
                '--result=@file' \
                '--need=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Wait in line at most D' \
                'Stop the command after D: TERM, grace, KILL' \
                'Who goes first' \
                'Try again up to N times' \
                'How --delay grows' \
                'Wait D before trying again' \
                'Whose place this is (default: workspace, what, command)' \
                'What others see instead of the command' \
                'Write the result as JSON: whose code it is, and why' \
                'Have the host promise it, as mem=4G,cpu=2 (75: none)' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@resource+'
            set runs \
                '1'
        case 'queue ticket'
            set options \
                '--priority=critical,high,normal,low' \
                '--key=-' \
                '--label=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Who goes first' \
                'Whose place this is (default: this ticket\'s own)' \
                'What others see' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@resource+'
        case 'queue wait'
            set options \
                '--timeout=-' \
                '--quiet' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Wait at most D' \
                'Show neither the wait nor what the command prints' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@run'
        case 'sim'
            set commands \
                'faults' \
                'reset' \
                'start' \
                'status' \
                'stop'
            set command_abouts \
                'List what can go wrong with a simulated device, for `sim start --fault`' \
                'Press RESET on the simulated device' \
                'Start the simulated device and wait until it answers' \
                'Say whether it runs (exit 0) or not (exit 1), and what it was flashed with' \
                'Stop the simulated device; nothing to do is no failure'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'sim faults'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'sim reset'
            set options \
                '--name=@device' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Which simulated device' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'sim start'
            set options \
                '--name=@device' \
                '--ota-port=-' \
                '--http-port=-' \
                '--fault+=-' \
                '--pace=-' \
                '--mac=-' \
                '--identity=-' \
                '--partition-size=-' \
                '--filesystem-size=-' \
                '--password-env=-' \
                '--password-file=-' \
                '--login=md5,sha256,sha256-md5' \
                '--usb' \
                '--usb-link=pty,rfc2217' \
                '--mdns' \
                '--reboot=-' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Which simulated device' \
                'UDP port (default: a free one)' \
                'TCP port (default: a free one)' \
                'What goes wrong, as cut=0.5, lost-ok:1 or drip=20' \
                'Take so many bytes a second, as in 100k (default: full speed)' \
                'MAC address it tells' \
                '`device` field it tells' \
                'Largest image it takes (default: 1966080 bytes)' \
                'Largest filesystem image it takes (default: 196608 bytes)' \
                'Ask for the OTA password in this environment variable' \
                'Ask for the OTA password in the first line of this file (0600)' \
                'How it asks: as before core 3.3.1' \
                'Give it a USB port that esptool can flash, with a console' \
                'What that port is: a terminal (default), or a TCP port with DTR and RTS, which --reset of ' \
                'Announce it by mDNS, on loopback only' \
                'How long a restart takes (default: 200ms)' \
                'Check the options, start nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'sim status'
            set options \
                '--name=@device' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Which simulated device' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'sim stop'
            set options \
                '--name=@device' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Which simulated device' \
                'Say what would be stopped' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'slo'
            set options \
                '--window=-' \
                '--format=text,nagios' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Over this time, up to 35d (default: each its own, 7d)' \
                'nagios: as its plugins print, with performance data' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'build-success,upload-success,upload-time,turn-time+'
        case 'status'
            set options \
                '-a/--all' \
                '--watch=-' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Cut no list, however long the screen becomes' \
                'Look anew every D until ^C, as 2s' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'tools'
            set commands \
                'install' \
                'status'
            set command_abouts \
                'Install PlatformIO and the SCons it wants, or esptool, from PyPI' \
                'Show which pio and esptool are used, and why'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'tools install'
            set options \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Say what would be done and do nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'platformio,esptool'
        case 'tools status'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'top'
            set options \
                '--interval=-' \
                '--plain' \
                '-h/--help'
            set option_abouts \
                'Look so often where no event tells of news' \
                'Draw the screen of `k1ctl status` anew instead' \
                'Show this message and exit'
        case 'upload'
            set options \
                '--device=any,@device' \
                '--artifact=@artifact,@file' \
                '--build' \
                '--filesystem' \
                '--force' \
                '--interface=-' \
                '--via=auto,ota,usb' \
                '--full' \
                '--soak=-' \
                '--wait=@run' \
                '--wait-limit=-' \
                '--priority=critical,high,normal,low' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Device, group, or any (default: the target\'s, else [defaults] device)' \
                'What to send (default: the newest build)' \
                'Build the target first' \
                'Send a filesystem (LittleFS, SPIFFS, FAT), not the app' \
                'With --filesystem: also what does not look like one' \
                'Interface or own address it connects back to' \
                'Over the network, or a USB cable' \
                'With --via usb: also bootloader and partition table' \
                'Watch it for D afterwards (default: the device\'s soak)' \
                'Take up an upload that goes on without its caller' \
                'Wait in line at most D' \
                '' \
                'Check the image and say what would be sent where' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@target'
        case 'why'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                'last,@workspace,@ticket,@run,@device,@target'
        case 'worktree'
            set commands \
                'add' \
                'doctor' \
                'du' \
                'list' \
                'ports' \
                'repair' \
                'setup' \
                'show' \
                'which'
            set command_abouts \
                'Make a worktree on a new branch and set it up' \
                'Find what is wrong with worktrees, and tell why it matters' \
                'What worktrees take of the disk, and the quotas' \
                'List the repository\'s worktrees' \
                'List the ports that worktrees hold, or give some up' \
                'Mend what can be mended without losing anything' \
                'Prepare this worktree to work in' \
                'All that is known of one worktree' \
                'Tell which worktree a port belongs to, and who listens there'
            set options \
                '-h/--help'
            set option_abouts \
                'Show this message and exit'
        case 'worktree add'
            set options \
                '--branch=-' \
                '--base=-' \
                '--path=@folder' \
                '--lock=-' \
                '--cache=auto,store,clone,copy,install,symlink' \
                '--no-setup' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'The new branch (default: NAME)' \
                'Where it starts (default: the root\'s HEAD)' \
                'Where it is put (default: ROOT.worktrees/NAME beside the root)' \
                'Lock it for git, so that nothing removes or prunes it' \
                'How node_modules come, as in `worktree setup`' \
                'Do not run setup in it' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
        case 'worktree doctor'
            set options \
                '--all' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Examine every worktree of the repository' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace+'
        case 'worktree du'
            set options \
                '--refresh' \
                '--sort=size,name,idle' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Scan anew instead of using scans that are kept' \
                '' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace+'
        case 'worktree list'
            set options \
                '--refresh' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Look at every one, however long it takes' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'worktree ports'
            set options \
                '--release' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Give NAME\'s ports up' \
                'With --release: change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace'
        case 'worktree repair'
            set options \
                '--all' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Mend every worktree of the repository' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace+'
        case 'worktree setup'
            set options \
                '--unlink/--no-unlink' \
                '--only+=-' \
                '--skip+=-' \
                '--cache=auto,store,clone,copy,install,symlink' \
                '--again' \
                '--wait=-' \
                '--list' \
                '--dry-run' \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Remove a .pio or node_modules that links out, or refuse' \
                'Run this step and those it needs' \
                'Leave this step out' \
                'How node_modules come, here and now' \
                'Run configured steps although nothing they depend on has changed' \
                'Wait at most D for room on this host' \
                'List the steps, and do nothing' \
                'Change nothing' \
                'Print one JSON document on stdout' \
                'Show this message and exit'
        case 'worktree show'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '@workspace'
        case 'worktree which'
            set options \
                '--json' \
                '-h/--help'
            set option_abouts \
                'Print one JSON document on stdout' \
                'Show this message and exit'
            set arguments \
                '-'
    end
end

set -g __k1ctl_settings \
    'alerts.budget.for' \
    'alerts.budget.limit' \
    'alerts.budget.on' \
    'alerts.burn.for' \
    'alerts.burn.on' \
    'alerts.device.age' \
    'alerts.device.for' \
    'alerts.device.on' \
    'alerts.disk.for' \
    'alerts.disk.limit' \
    'alerts.disk.on' \
    'alerts.escalation.for' \
    'alerts.escalation.on' \
    'alerts.exporter.for' \
    'alerts.exporter.on' \
    'alerts.gap' \
    'alerts.host.for' \
    'alerts.host.level' \
    'alerts.host.on' \
    'alerts.queue.for' \
    'alerts.queue.limit' \
    'alerts.queue.on' \
    'alerts.resolve' \
    'alerts.success.events' \
    'alerts.success.for' \
    'alerts.success.limit' \
    'alerts.success.on' \
    'alerts.success.window' \
    'alerts.throttle' \
    'archive.branch_policy' \
    'archive.conductor' \
    'archive.exclude' \
    'archive.include' \
    'archive.keep' \
    'archive.keep_trash' \
    'archive.limit' \
    'archive.older_than' \
    'archive.regenerable' \
    'archive.secrets' \
    'archive.store' \
    'artifact.keep' \
    'artifact.limit' \
    'artifact.store' \
    'budget.agent_day' \
    'budget.agent_day_usd' \
    'budget.buckets.@.percent' \
    'budget.buckets.@.provider' \
    'budget.buckets.@.requests' \
    'budget.buckets.@.tokens' \
    'budget.buckets.@.window' \
    'budget.chains.@.models' \
    'budget.day' \
    'budget.day_usd' \
    'budget.github.spacing' \
    'budget.github.timeout' \
    'budget.github.token_env' \
    'budget.github.url' \
    'budget.github.writes_hour' \
    'budget.github.writes_minute' \
    'budget.hour' \
    'budget.hour_usd' \
    'budget.keys.@.bucket' \
    'budget.keys.@.env' \
    'budget.keys.@.file' \
    'budget.pools.@' \
    'budget.prices' \
    'budget.providers.@.failures' \
    'budget.providers.@.models' \
    'budget.providers.@.probe' \
    'budget.reserve_pool' \
    'budget.soft' \
    'budget.task' \
    'budget.task_usd' \
    'budget.unknown_model' \
    'budget.weights.cache_read' \
    'budget.weights.cache_write' \
    'budget.weights.input' \
    'budget.weights.output' \
    'budget.zone' \
    'build.cache' \
    'build.cache_size' \
    'build.jobs' \
    'build.timeout' \
    'capacity.admit_percent' \
    'capacity.agents' \
    'capacity.base' \
    'capacity.build_percent' \
    'capacity.cpus' \
    'capacity.gpu_memory' \
    'capacity.gpu_per_agent' \
    'capacity.heavy.@' \
    'capacity.kill_percent' \
    'capacity.limit_by' \
    'capacity.memory' \
    'capacity.models.@' \
    'capacity.oom_retries' \
    'capacity.per_agent' \
    'capacity.reserve' \
    'capacity.suspend_percent' \
    'capacity.tokens' \
    'console.baud' \
    'console.keep' \
    'console.limit' \
    'defaults.device' \
    'defaults.target' \
    'device.window' \
    'devices.@.boot_timeout' \
    'devices.@.build_id' \
    'devices.@.fps_min' \
    'devices.@.groups' \
    'devices.@.heap_min' \
    'devices.@.host' \
    'devices.@.http_port' \
    'devices.@.identity' \
    'devices.@.interface' \
    'devices.@.mac' \
    'devices.@.ota_host_port' \
    'devices.@.ota_port' \
    'devices.@.password_env' \
    'devices.@.password_file' \
    'devices.@.probe_timeout' \
    'devices.@.rssi_min' \
    'devices.@.soak' \
    'devices.@.usb_port' \
    'disk.archive_percent' \
    'disk.stop_percent' \
    'disk.total_quota' \
    'disk.workspace_quota' \
    'escalation.failures_agent' \
    'escalation.failures_human' \
    'escalation.forget' \
    'escalation.offline_human' \
    'escalation.offline_incident' \
    'escalation.retrying' \
    'events.compress' \
    'events.keep' \
    'hooks.target' \
    'hooks.wait' \
    'metrics.active' \
    'metrics.aliases' \
    'metrics.fps_target' \
    'metrics.hosts' \
    'metrics.most' \
    'metrics.period' \
    'metrics.port' \
    'notify.apprise_env' \
    'notify.apprise_file' \
    'notify.command' \
    'notify.timeout' \
    'ota.attempt_timeout' \
    'ota.attempts' \
    'ota.connect_timeout' \
    'ota.idle_timeout' \
    'ota.invitation_interval' \
    'ota.invitations' \
    'ota.login_timeout' \
    'ota.retry_delay' \
    'ports.count' \
    'ports.first' \
    'ports.last' \
    'process.grace' \
    'process.keep_runs' \
    'process.sample' \
    'queue.ageing' \
    'queue.dir' \
    'queue.max_length' \
    'queue.park' \
    'queue.slots.@' \
    'queue.stall' \
    'run_targets.@.about' \
    'run_targets.@.command' \
    'run_targets.@.interactive' \
    'run_targets.@.path' \
    'run_targets.@.port' \
    'run_targets.@.resources' \
    'run_targets.@.timeout' \
    'run_targets.@.wait' \
    'setup.@.command' \
    'setup.@.inputs' \
    'setup.@.needs' \
    'setup.@.path' \
    'setup.@.timeout' \
    'slo.@.escalate' \
    'slo.@.investigate' \
    'slo.@.kind' \
    'slo.@.of' \
    'slo.@.percent' \
    'slo.@.window' \
    'slo.@.within' \
    'stores.@.bucket' \
    'stores.@.endpoint' \
    'stores.@.key_env' \
    'stores.@.kind' \
    'stores.@.path' \
    'stores.@.prefix' \
    'stores.@.region' \
    'stores.@.secret_env' \
    'targets.@.build_id' \
    'targets.@.chip' \
    'targets.@.command' \
    'targets.@.command_release' \
    'targets.@.device' \
    'targets.@.env' \
    'targets.@.filesystem_size' \
    'targets.@.kind' \
    'targets.@.outputs' \
    'targets.@.partition_size' \
    'targets.@.path' \
    'targets.@.release_env' \
    'targets.@.release_flags' \
    'targets.@.script' \
    'targets.@.script_release' \
    'test.attempts' \
    'test.delay' \
    'test.duration' \
    'test.lost' \
    'test.patterns' \
    'test.regression' \
    'test.settle' \
    'tools.addr2line' \
    'tools.esptool' \
    'tools.pio' \
    'usb.baud' \
    'usb.connect_timeout' \
    'usb.stub' \
    'usb.yield_timeout' \
    'worktree.cache' \
    'worktree.copy' \
    'worktree.npm' \
    'worktree.read_only' \
    'worktree.skip' \
    'worktree.templates' \
    'worktree.tools'

complete -c k1ctl -f -k -a '(__k1ctl)'
