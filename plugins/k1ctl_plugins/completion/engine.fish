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
