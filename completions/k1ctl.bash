# made from the commands of k1ctl; change those, then run `make docs`
# shellcheck shell=bash
# Completion of k1ctl for bash 3.2 and newer. No process is started to list values: they are read from ops/ here.
# Functions set the variables of their caller, _k1ctl, which are all local to it.
# shellcheck disable=SC2034,SC2088,SC2154,SC2295

_k1ctl() {
  local IFS=$' \t\n' cur='' quote='' prefix='' cut='' files='' root='' git='' ops=''
  local commands='' options='' arguments='' runs='' mixed='' # what _k1ctl_command tells of the command
  local path='' position=0 given=' ' wanted='' token='' ended='' redirected='' i word
  local words offsets firsts list
  local devices targets run_targets slots queue='' # what _k1ctl_config reads
  words=() offsets=() firsts=() list=() devices=() targets=() run_targets=() slots=() COMPREPLY=()
  _k1ctl_words
  _k1ctl_command ''
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    word=${words[i]}
    case $word in
      *[\<\>]) redirected=1 && continue ;;
      *[\<\>]*) continue ;;
    esac
    [[ -n $redirected ]] && redirected='' && continue
    _k1ctl_unquote
    if [[ -n $wanted ]]; then
      [[ $wanted == --root && -z $path ]] && root=$word
      wanted=''
    elif [[ -n $ended ]]; then
      position=$((position + 1))
    elif [[ $word == -- ]]; then
      ended=1
      [[ -n $runs ]] && _k1ctl_foreign $((i + 1)) && return
    elif [[ $word == -?* ]]; then
      _k1ctl_given
    elif [[ $position == 0 && " $commands " == *" $word "* ]]; then
      path="$path $word" given=' '
      _k1ctl_command "$path"
    else
      position=$((position + 1))
      [[ -n $mixed ]] || ended=1
    fi
  done
  _k1ctl_typed "${words[${#words[@]} - 1]}"
  if [[ -n $redirected || $cur == *[\<\>]* ]]; then
    files=default
  elif [[ -n $wanted ]]; then
    _k1ctl_values "${token#*=}"
  elif [[ -z $ended && $cur == --*=* ]]; then
    if _k1ctl_option "${cur%%=*}" && [[ $token == *=* ]]; then
      prefix=${cur%%=*}=
      _k1ctl_value "${cur#*=}"
      _k1ctl_values "${token#*=}"
    fi
  elif [[ -z $ended && $cur == -* ]]; then
    _k1ctl_options
  else
    [[ $position == 0 ]] && _k1ctl_values "${commands// /,}"
    _k1ctl_positional
  fi
  [[ -n $files && ${#COMPREPLY[@]} == 0 ]] && _k1ctl_paths "$files"
  return 0
}

# The words up to the cursor. COMP_WORDBREAKS cuts words at : and = and others; what touches in the line is one word.
_k1ctl_words() {
  local line=${COMP_LINE:0:COMP_POINT} length rest i
  length=${#line}
  for ((i = 0; i <= COMP_CWORD; i++)); do
    rest=${line#"${line%%[![:space:]]*}"}
    word=${COMP_WORDS[i]}
    ((i == COMP_CWORD)) && word=$rest
    if [[ $rest != "$word"* ]]; then # the line is not made of these words
      words=("${COMP_WORDS[@]:0:COMP_CWORD + 1}")
      return
    fi
    if ((i == 0)) || [[ $rest != "$line" ]]; then
      words[${#words[@]}]='' offsets[${#offsets[@]}]=$((length - ${#rest})) firsts[${#firsts[@]}]=$i
    fi
    words[${#words[@]} - 1]=${words[${#words[@]} - 1]}$word
    line=${rest#"$word"}
  done
}

# Takes the quoting off $word, as far as names need it.
_k1ctl_unquote() {
  case $word in
    \"*) word=${word#\"} word=${word%\"} ;;
    \'*) word=${word#\'} word=${word%\'} ;;
    *) word=${word//\\/} ;;
  esac
}

# The word under the cursor: $cut is the part that readline keeps, since it breaks words there.
_k1ctl_typed() {
  local breaks='' character
  for character in : = @; do
    [[ ${COMP_WORDBREAKS-} == *"$character"* ]] && breaks=$breaks$character
  done
  [[ -n $breaks ]] && cut=${1%"${1##*[$breaks]}"}
  _k1ctl_value "$1"
}

_k1ctl_value() {
  cur=$1
  case $cur in
    \"* | \'*) quote=${cur:0:1} cur=${cur:1} ;;
    *) cur=${cur//\\/} ;;
  esac
}

# $token becomes the entry of the option $1: NAME[/NAME][+] of a flag, NAME[/NAME][+]=WORDS of one with a value.
_k1ctl_option() {
  local names
  for token in $options; do
    names=${token%%=*}
    case "/${names%+}/" in */"$1"/*) return 0 ;; esac
  done
  token=''
  return 1
}

# An option that stands before the cursor; $wanted becomes its name when its value is the next word.
_k1ctl_given() {
  local name=${word%%=*}
  [[ $word == --* ]] || name=${word:0:2}
  _k1ctl_option "$name" || return 0
  given="$given$token "
  if [[ $token == *=* && $word == "$name" ]]; then
    wanted=$name
  elif [[ $name == --root && $word == *=* && -z $path ]]; then
    root=${word#*=}
  fi
}

# Options that may still be given.
_k1ctl_options() {
  local names
  for token in $options; do
    names=${token%%=*}
    [[ $names != *+ && $given == *" $token "* ]] && continue
    names=${names%+}
    while [[ $names == */* ]]; do
      _k1ctl_offer "${names%%/*}"
      names=${names#*/}
    done
    _k1ctl_offer "$names"
  done
}

# Values of the argument that stands here; the last one takes the rest when it ends in +.
_k1ctl_positional() {
  local argument count=0
  for argument in $arguments; do
    if ((count == position)) || [[ $argument == *+ ]]; then
      _k1ctl_values "${argument%+}"
      return
    fi
    count=$((count + 1))
  done
}

# Offers words, separated by commas; @NAME stands for what _k1ctl_NAME finds.
_k1ctl_values() {
  local value
  for value in ${1//,/ }; do
    case $value in
      @file) files=default ;;
      @folder) files=dirnames ;;
      @*) "_k1ctl_${value#@}" ;;
      -) ;;
      *) _k1ctl_offer "$value" ;;
    esac
  done
}

# Offers one candidate if it begins with what was typed. What a terminal cannot show is left out; the rest is quoted.
_k1ctl_offer() {
  local text
  case $1 in "$cur"*) ;; *) return 0 ;; esac
  case $1 in '' | *[[:cntrl:]]*) return 0 ;; esac
  if [[ -n $quote ]]; then
    case $quote$1 in \'*\'* | \"*[\"\\\$\`!]*) return 0 ;; esac
    text=$1
  else
    printf -v text %q "$1"
    text=$prefix$text${2- }
    text=${text#"$cut"}
  fi
  COMPREPLY[${#COMPREPLY[@]}]=$text
}

# Files ($1 default) or folders (dirnames): by readline where it can be asked to (bash 4), else with a glob.
_k1ctl_paths() {
  local found suffix home=''
  compopt +o nospace -o "$1" 2>/dev/null && return
  [[ $cur == *[\<\>]* ]] && _k1ctl_value "${cur##*[<>]}"
  [[ $cur == '~/'* && -z $quote ]] && home=$HOME/ prefix="$prefix~/" cur=${cur#'~/'}
  _k1ctl_glob "$home$cur"
  for found in ${list[@]+"${list[@]}"}; do
    suffix=' '
    [[ -d $found ]] && suffix=/
    [[ $suffix == / || $1 == default ]] && _k1ctl_offer "${found#"$home"}" "$suffix"
  done
}

# $list becomes what the glob "$1"*$2 finds, whatever the user has set.
_k1ctl_glob() {
  local undo='' option
  for option in failglob dotglob; do
    shopt -q $option && shopt -u $option && undo="$undo shopt -s $option;"
  done
  shopt -q nullglob || { shopt -s nullglob && undo="$undo shopt -u nullglob;"; }
  case $- in *f*) set +f && undo="$undo set -f;" ;; esac
  # shellcheck disable=SC2206 # $2 is a pattern
  list=("$1"*${2-})
  eval "$undo"
}

# The command line behind --, whose first word is words[$1]: completed as if it stood alone.
_k1ctl_foreign() {
  local first=${firsts[$1]} function=''
  for function in _comp_command_offset _command_offset; do
    if declare -F $function >/dev/null; then # bash-completion is there
      compopt +o nospace 2>/dev/null
      $function "$first"
      return 0
    fi
  done
  _k1ctl_typed "${words[${#words[@]} - 1]}"
  if (($1 == ${#words[@]} - 1)); then
    if [[ $cur != */* ]]; then
      while IFS= read -r word; do
        _k1ctl_offer "$word"
      done < <(compgen -c -- "$cur")
    fi
    [[ ${#COMPREPLY[@]} == 0 ]] && _k1ctl_paths default
    return 0
  fi
  function=$(complete -p -- "${COMP_WORDS[first]}" 2>/dev/null)
  case $function in
    *' -F '*)
      function=${function#* -F } function=${function%% *}
      COMP_POINT=$((COMP_POINT - offsets[$1])) COMP_LINE=${COMP_LINE:offsets[$1]}
      COMP_WORDS=("${COMP_WORDS[@]:first}") COMP_CWORD=$((COMP_CWORD - first))
      compopt +o nospace 2>/dev/null
      "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
      ;;
    *) _k1ctl_paths default ;;
  esac
  return 0
}

# $root becomes the main checkout (--root, K1CTL_ROOT, CONDUCTOR_ROOT_PATH, else around this folder), $git its git
# folder, $ops its ops/. False when there is none.
_k1ctl_root() {
  local folder=${root:-${K1CTL_ROOT:-${CONDUCTOR_ROOT_PATH:-}}}
  [[ -n $ops ]] && return
  if [[ -n $folder ]]; then
    case $folder in '~' | '~/'*) folder=$HOME${folder#'~'} ;; esac
    [[ -d $folder ]] || return 1
    root=$folder
    _k1ctl_checkout "$folder"
  else
    folder=$PWD
    _k1ctl_linked "$folder" && folder=$(pwd -P)
    until _k1ctl_checkout "$folder"; do
      [[ -z $folder || $folder == / ]] && return 1
      folder=${folder%/*}
    done
  fi
  ops=$root/ops
}

# Whether a part of the path $1 is a symbolic link.
_k1ctl_linked() {
  local part=$1
  while [[ -n $part ]]; do
    [[ -L $part ]] && return 0
    part=${part%/*}
  done
  return 1
}

# Whether the folder $1 is the top of a checkout; $root and $git become the main checkout's (gitrepository-layout(5)).
_k1ctl_checkout() {
  local link='' common=''
  if [[ -d $1/.git ]]; then
    root=$1 git=$1/.git
    return 0
  fi
  [[ -f $1/.git && -r $1/.git ]] || return 1
  IFS= read -r link <"$1/.git"
  [[ $link == gitdir:* ]] || return 1
  link=${link#gitdir:} link=${link#"${link%%[![:space:]]*}"}
  [[ $link == /* ]] || link=$1/$link
  root=$1 git=$link
  if [[ -r $link/commondir ]]; then
    IFS= read -r common <"$link/commondir"
    if [[ $common == /* ]]; then
      git=$common
    else
      while [[ $common == ..* ]]; do
        git=${git%/*} common=${common#..} common=${common#/}
      done
      git=$git${common:+/$common}
    fi
    root=${git%/*}
  fi
  return 0
}

# Reads ops/k1ctl.toml once: the names of tables, those of slots, and the folder of the queue.
_k1ctl_config() {
  local line name table='' dir=${K1CTL_QUEUE_DIR:-}
  [[ -n $queue ]] && return
  _k1ctl_root || return 1
  if [[ -r $ops/k1ctl.toml ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      line=${line#"${line%%[![:space:]]*}"}
      case $line in
        '' | '#'*) ;;
        '['*)
          table=${line#\[}
          case $table in
            devices.*) _k1ctl_name "${table#*.}" && devices[${#devices[@]}]=$name ;;
            targets.*) _k1ctl_name "${table#*.}" && targets[${#targets[@]}]=$name ;;
            run_targets.*) _k1ctl_name "${table#*.}" && run_targets[${#run_targets[@]}]=$name ;;
          esac
          table=${table%%\]*}
          ;;
        *)
          case $table in
            queue.slots) _k1ctl_name "$line" && slots[${#slots[@]}]=$name ;;
            queue)
              [[ $line == dir[\ =]* && -z $dir ]] || continue
              line=${line#*=}
              _k1ctl_name "${line#"${line%%[![:space:]]*}"}" && dir=$name
              ;;
          esac
          ;;
      esac
    done <"$ops/k1ctl.toml"
  fi
  case $dir in
    '') queue=$ops/queue ;;
    /*) queue=$dir ;;
    '~' | '~/'*) queue=$HOME${dir#'~'} ;;
    *) queue=$root/$dir ;;
  esac
}

# $name becomes the first part of the dotted key $1, or the quoted text; one with escapes in it is left out.
_k1ctl_name() {
  case $1 in
    \"*) name=${1#\"} name=${name%%\"*} ;;
    \'*) name=${1#\'} name=${name%%\'*} ;;
    *) name=${1%%[].= ]*} ;;
  esac
  [[ -n $name && $name != *\\* ]]
}

_k1ctl_each() {
  local name
  for name; do
    _k1ctl_offer "$name"
  done
}

_k1ctl_device() {
  _k1ctl_config && _k1ctl_each ${devices[@]+"${devices[@]}"}
}

_k1ctl_target() {
  _k1ctl_config && _k1ctl_each ${targets[@]+"${targets[@]}"}
}

_k1ctl_run_target() {
  _k1ctl_config && _k1ctl_each ${run_targets[@]+"${run_targets[@]}"}
}

# Folder names of the main checkout and of its worktrees.
_k1ctl_workspace() {
  local file line
  _k1ctl_root || return
  _k1ctl_offer "${root##*/}"
  _k1ctl_glob "$git/worktrees/" /gitdir
  for file in ${list[@]+"${list[@]}"}; do
    [[ -r $file ]] || continue
    IFS= read -r line <"$file"
    line=${line%/.git}
    _k1ctl_offer "${line##*/}"
  done
}

# A ticket's file name ends in its resources: w50.0000000012.4711.9f3c2a11.device:k1=1,build:fw=2; P.NAME pauses one.
_k1ctl_resource() {
  local file name needs seen=' '
  _k1ctl_config || return
  for name in ${devices[@]+"${devices[@]}"}; do _k1ctl_resource_name "device:$name"; done
  for name in ${targets[@]+"${targets[@]}"}; do _k1ctl_resource_name "build:$name"; done
  _k1ctl_each ${slots[@]+"${slots[@]}"}
  _k1ctl_glob "$queue/tickets/"
  for file in ${list[@]+"${list[@]}"}; do
    file=${file##*/}
    case $file in
      P.*) needs=${file#P.} ;;
      [wrp][0-9]*.[0-9]*.[0-9]*.*.*) needs=${file#*.*.*.*.} ;;
      *) continue ;;
    esac
    [[ $seen == *" $needs "* ]] && continue
    seen="$seen$needs "
    while [[ -n $needs ]]; do
      name=${needs%%,*} needs=${needs#"$name"} needs=${needs#,}
      _k1ctl_resource_name "${name%=*}"
    done
  done
  _k1ctl_glob "$queue/history/"
  for file in ${list[@]+"${list[@]}"}; do
    _k1ctl_resource_name "${file##*/}"
  done
}

_k1ctl_resource_name() {
  case $1 in [!A-Za-z0-9]* | *[!A-Za-z0-9:_@+-]*) ;; *) _k1ctl_offer "$1" ;; esac
}

_k1ctl_ticket() {
  local file number
  _k1ctl_config || return
  _k1ctl_glob "$queue/tickets/"
  for file in ${list[@]+"${list[@]}"}; do
    file=${file##*/} number=${file#*.} number=${number%%.*}
    case $file in [wrp][0-9]*.[0-9]*.[0-9]*.*.*) ;; *) continue ;; esac
    case $number in '' | *[!0-9]*) ;; *) _k1ctl_offer "${number#"${number%%[!0]*}"}" ;; esac
  done
}

_k1ctl_run() {
  local name count=0 i
  _k1ctl_root || return
  _k1ctl_glob "$ops/runs/"
  for ((i = ${#list[@]} - 1; i >= 0 && count < 50; i--)); do
    name=${list[i]##*/}
    case $name in *[!0-9a-f.-]*) continue ;; esac
    count=$((count + 1))
    _k1ctl_offer "$name"
  done
}

_k1ctl_archive() {
  local file
  _k1ctl_root && [[ -n $git ]] || return
  _k1ctl_glob "$git/k1ctl/archive/" /manifest.json
  for file in ${list[@]+"${list[@]}"}; do
    file=${file%/manifest.json} file=${file##*/}
    case $file in [!0-9]* | *[!A-Za-z0-9._-]*) ;; *) _k1ctl_offer "$file" ;; esac
  done
}

_k1ctl_artifact() {
  local file
  _k1ctl_root || return
  _k1ctl_glob "$ops/artifacts/" '/*'
  for file in ${list[@]+"${list[@]}"}; do
    file=${file##*/}
    case $file in *[!0-9a-f]*) ;; ????????????????) _k1ctl_offer "$file" ;; esac
  done
}

# Settings: devices.@.host stands for one of each device.
_k1ctl_key() {
  local pattern name names
  _k1ctl_config
  for pattern in $_k1ctl_settings; do
    case $pattern in
      devices.@*) names=(${devices[@]+"${devices[@]}"}) ;;
      targets.@*) names=(${targets[@]+"${targets[@]}"}) ;;
      run_targets.@*) names=(${run_targets[@]+"${run_targets[@]}"}) ;;
      queue.slots.@*) names=(${slots[@]+"${slots[@]}"}) ;;
      *@*) continue ;;
      *)
        _k1ctl_offer "$pattern"
        continue
        ;;
    esac
    for name in ${names[@]+"${names[@]}"}; do
      case $name in *[!A-Za-z0-9:_@+-]*) name="\"$name\"" ;; esac
      _k1ctl_offer "${pattern%%@*}$name${pattern#*@}"
    done
  done
}

# What a command takes. Options: NAME[/NAME][+][=WORDS]; + may be given again, WORDS are values, @ names a
# source. Arguments: WORDS[+], - is a value of the user's own. No options behind them where $mixed is empty.
_k1ctl_command() {
  commands='' options='' arguments='' runs='' mixed=1
  case $1 in
    '')
      commands='alert archive artifact budget build capacity completion config demo device doctor events hook host init metrics notify plugins queue sim slo status tools top upload why worktree'
      options='--root=@folder --version -h/--help'
      ;;
    ' alert')
      commands='check list silence'
      options='-h/--help'
      ;;
    ' alert check')
      options='--notify --dry-run --json -h/--help'
      ;;
    ' alert list')
      options='--all --json -h/--help'
      ;;
    ' alert silence')
      options='--for=- --reason=- --dry-run --json -h/--help'
      arguments='queue,success,disk,device,escalation,burn,budget,exporter,host'
      ;;
    ' archive')
      commands='list pull purge push restore run save schedule show verify'
      options='-h/--help'
      ;;
    ' archive list')
      options='--store=- --repository=- --json -h/--help'
      ;;
    ' archive pull')
      options='--store=- --repository=- --trust --dry-run --json -h/--help'
      arguments='-'
      ;;
    ' archive purge')
      options='--older-than=- --dry-run --json -h/--help'
      arguments='@archive+'
      ;;
    ' archive push')
      options='--all --store=- --init-store --tracked-secrets --dry-run --json -h/--help'
      arguments='@archive+'
      ;;
    ' archive restore')
      options='--to=- --branch=- --dry-run --json -h/--help'
      arguments='@archive'
      ;;
    ' archive run')
      options='--older-than=- --include+=- --exclude+=- --branch-policy=keep,delete-if-merged --dry-run --json -h/--help'
      arguments='@workspace+'
      ;;
    ' archive save')
      options='--reason=- --dry-run --json -h/--help'
      arguments='@workspace'
      ;;
    ' archive schedule')
      options='--print --install --remove --cron --launchd --at=- --every=weekly,daily --dry-run --json -h/--help'
      ;;
    ' archive show')
      options='--files --json -h/--help'
      arguments='@archive'
      ;;
    ' archive verify')
      options='--all --quick --json -h/--help'
      arguments='@archive+'
      ;;
    ' artifact')
      commands='list pin prune pull push show unpin'
      options='-h/--help'
      ;;
    ' artifact list')
      options='--workspace=@workspace --verify --json -h/--help'
      arguments='@target'
      ;;
    ' artifact pin')
      options='--target=@target --reason=- --json -h/--help'
      arguments='@artifact+'
      ;;
    ' artifact prune')
      options='--limit=- --dry-run --json -h/--help'
      ;;
    ' artifact pull')
      options='--target=@target --store=- --dry-run --json -h/--help'
      arguments='@artifact+'
      ;;
    ' artifact push')
      options='--target=@target --store=- --init-store --again --dry-run --json -h/--help'
      arguments='@artifact+'
      ;;
    ' artifact show')
      options='--target=@target --verify --json -h/--help'
      arguments='@artifact'
      ;;
    ' artifact unpin')
      options='--target=@target --json -h/--help'
      arguments='@artifact+'
      ;;
    ' budget')
      commands='check export extend github history keys model release reserve run set settle status sync verify'
      options='-h/--help'
      ;;
    ' budget check')
      options='--need=- --agent=- --task=- --pool=- --model=- --critical --usd=- --json -h/--help'
      ;;
    ' budget export')
      options='--what=record,spend --format=jsonl,csv --since=- --json -h/--help'
      ;;
    ' budget extend')
      options='--ttl=- --dry-run --json -h/--help'
      arguments='-'
      ;;
    ' budget github')
      options='--from-headers=@file --refresh --pace --wait=- --resource=@resource --dry-run --json -h/--help'
      ;;
    ' budget history')
      options='--days=- --by+=day,agent,task,pool,model,hour --agent=- --task=- --json -h/--help'
      ;;
    ' budget keys')
      commands='list next report'
      options='-h/--help'
      ;;
    ' budget keys list')
      options='--json -h/--help'
      ;;
    ' budget keys next')
      options='--tokens=- --provider=- --bucket=- --dry-run --json -h/--help'
      ;;
    ' budget keys report')
      options='--status=- --retry-after=- --tokens=- --id=- --lift --json -h/--help'
      arguments='-'
      ;;
    ' budget model')
      options='--for=- --tokens=- --agent=- --task=- --pool=- --report=ok,limit,error --model=- --provider=- --until=- --all-models --lift --dry-run --json -h/--help'
      ;;
    ' budget release')
      options='--dry-run --json -h/--help'
      arguments='-+'
      ;;
    ' budget reserve')
      options='--agent=- --task=- --pool=- --model=- --critical --input=- --output=- --cache-write=- --cache-read=- --usd=- --ttl=- --owner-pid=- --id=- --wait=- --dry-run --json -h/--help'
      arguments='-'
      ;;
    ' budget run')
      options='--estimate=- --agent=- --task=- --pool=- --model=- --critical --usd=- --wait=- --settle-from=@file --settle-by=estimate,sync --dry-run --json -h/--help'
      arguments='-+'
      runs='1'
      ;;
    ' budget set')
      options='--day=- --agent-day=- --task=- --hour=- --pool+=- --reserve-pool=- --day-usd=- --agent-day-usd=- --task-usd=- --hour-usd=- --soft=- --zone=- --weight+=- --dry-run --json -h/--help'
      ;;
    ' budget settle')
      options='--input=- --output=- --cache-write=- --cache-read=- --usd=- --dry-run --json -h/--help'
      arguments='- -'
      ;;
    ' budget status')
      options='--agent=- --task=- --json -h/--help'
      ;;
    ' budget sync')
      options='--since=- --from+=@folder --offline --dry-run --json -h/--help'
      ;;
    ' budget verify')
      options='--json -h/--help'
      ;;
    ' build')
      commands='list log show'
      options='--env=- --release --clean --keep-going --wait=- --timeout=- --priority=critical,high,normal,low --dry-run --json -h/--help'
      arguments='all,@target+'
      ;;
    ' build list')
      options='--workspace=@workspace --target=@target --limit=- --json -h/--help'
      ;;
    ' build log')
      options='-f/--follow --json -h/--help'
      arguments='@run'
      ;;
    ' build show')
      options='--json -h/--help'
      arguments='@run'
      ;;
    ' capacity')
      commands='baseline check forecast list plan release run show stress'
      options='-h/--help'
      ;;
    ' capacity baseline')
      options='--interval=- --class=- --duration=- --pid=- --container=- --plot=@file --label=- --json -h/--help'
      arguments='-+'
      runs='1'
      mixed=''
      ;;
    ' capacity check')
      options='--need=- --class=- --wait=- --reduce --reserve --ttl=- --owner-pid=- --priority=critical,high,normal,low --facts=@file --json -h/--help'
      ;;
    ' capacity forecast')
      options='--tasks-per-hour=- --hours-per-task=- --concurrency=- --efficiency=- --growth=- --months=- --hosts=- --days=- --facts=@file --json -h/--help'
      ;;
    ' capacity list')
      options='--json -h/--help'
      ;;
    ' capacity plan')
      options='--scenario=usual,light,mixed,heavy,burst,all --agents=- --what-if+=- --turns=- --seed=- --days=- --no-history --plot=@file --facts=@file --json -h/--help'
      ;;
    ' capacity release')
      options='--dry-run --json -h/--help'
      arguments='-+'
      ;;
    ' capacity run')
      options='--need=- --mem-limit=- --cpu-limit=- --wait=- --timeout=- --priority=critical,high,normal,low --label=- --class=- --oom-retries=- --result=@file --reduce --dry-run --json -h/--help'
      arguments='-+'
      runs='1'
      ;;
    ' capacity show')
      options='--explain --facts=@file --json -h/--help'
      ;;
    ' capacity stress')
      options='--agents=- --mem=- --cpu=- --jobs=- --repeat=- --timeout=- --wait=- --fresh --dry-run --apply --json -h/--help'
      arguments='-+'
      runs='1'
      ;;
    ' completion')
      options='--install --plugins --dry-run --json -h/--help'
      arguments='bash,zsh,fish'
      ;;
    ' config')
      commands='edit get path set show unset'
      options='-h/--help'
      ;;
    ' config edit')
      options='--dry-run --json -h/--help'
      ;;
    ' config get')
      options='--json -h/--help'
      arguments='@key'
      ;;
    ' config path')
      options='--json -h/--help'
      ;;
    ' config set')
      options='--rewrite --dry-run --json -h/--help'
      arguments='@key -+'
      ;;
    ' config show')
      options='--changed --json -h/--help'
      ;;
    ' config unset')
      options='--rewrite --dry-run --json -h/--help'
      arguments='@key'
      ;;
    ' demo')
      options='--agents=- --keep --pace=- --json -h/--help'
      ;;
    ' device')
      commands='console disable discover enable escalation health info list logs metrics rollback test watch'
      options='-h/--help'
      ;;
    ' device console')
      options='--reset --for=- --send+=- --expect+=- --timeout=- --fail-on-panic --wait=- --elf=@file --json -h/--help'
      arguments='@device'
      ;;
    ' device disable')
      options='--reason=- --dry-run --json -h/--help'
      arguments='@device'
      ;;
    ' device discover')
      options='--interface=- --timeout=- --usb-only --mdns-only --toml --json -h/--help'
      ;;
    ' device enable')
      options='--dry-run --json -h/--help'
      arguments='@device'
      ;;
    ' device escalation')
      options='--check --close --reason=- --dry-run --json -h/--help'
      arguments='@device'
      ;;
    ' device health')
      options='--wait=- --max-age=- --format=text,nagios --json -h/--help'
      arguments='@device'
      ;;
    ' device info')
      options='--interface=- --timeout=- --max-age=- --json -h/--help'
      arguments='@device'
      ;;
    ' device list')
      options='--max-age=- --json -h/--help'
      ;;
    ' device logs')
      options='--list --last --since=- --follow/-f --json -h/--help'
      arguments='@device'
      ;;
    ' device metrics')
      options='--timeout=- --format=text,json,prom --json -h/--help'
      arguments='@device'
      ;;
    ' device rollback')
      options='--list --to=- --soak=- --via=auto,ota,usb --force --wait-limit=- --dry-run --json -h/--help'
      arguments='@device'
      ;;
    ' device test')
      options='--device=any,@device --duration=- --record --strict --all --junit=@file --wait=- --dry-run --json -h/--help'
      arguments='-+'
      ;;
    ' device watch')
      options='--interval=- --for=- --jsonl -h/--help'
      arguments='@device+'
      ;;
    ' doctor')
      options='-a/--all --json -h/--help'
      arguments='alert,archive,budget,capacity,config,device,events,hook,host,metrics,notify,plugins,queue,tools,worktree+'
      ;;
    ' events')
      commands='compact list stats tail'
      options='-h/--help'
      ;;
    ' events compact')
      options='--older=- --keep=- --dry-run --json -h/--help'
      ;;
    ' events list')
      options='--since=- --until=- --limit=- -f/--follow --event+=- --run=@run --workspace=@workspace --ticket=- --jsonl --json -h/--help'
      ;;
    ' events stats')
      options='--by=- --since=- --until=- --event+=- --run=@run --workspace=@workspace --json -h/--help'
      arguments='-'
      ;;
    ' events tail')
      options='-f/--follow -n/--lines=- --event+=- --run=@run --workspace=@workspace --jsonl -h/--help'
      ;;
    ' hook')
      commands='archive run setup weekly'
      options='-h/--help'
      ;;
    ' hook archive')
      options='--dry-run --json -h/--help'
      ;;
    ' hook run')
      options='--list --dry-run --result=@file --json -h/--help'
      arguments='web,web:dev,web:build,web:test,web:e2e,fw:build,fw:upload,fw:monitor,fw:test,test:pattern,test:integration,@run_target @file+'
      mixed=''
      ;;
    ' hook setup')
      options='--dry-run --json -h/--help'
      ;;
    ' hook weekly')
      options='--dry-run --json -h/--help'
      ;;
    ' host')
      commands='doctor health'
      options='-h/--help'
      ;;
    ' host doctor')
      options='--json -h/--help'
      ;;
    ' host health')
      options='--format=text,nagios --strict --facts=@file --json -h/--help'
      ;;
    ' init')
      options='--dry-run --conductor=json,toml,auto --json -h/--help'
      ;;
    ' metrics')
      commands='json print rules serve write'
      options='-h/--help'
      ;;
    ' metrics json')
      options='--json -h/--help'
      ;;
    ' metrics print')
      options='--format=prometheus,openmetrics --no-aliases --json -h/--help'
      ;;
    ' metrics rules')
      options='--out=@folder --dry-run --json -h/--help'
      ;;
    ' metrics serve')
      options='--port=- --no-aliases --dry-run --json -h/--help'
      ;;
    ' metrics write')
      options='--dry-run --json -h/--help'
      arguments='@file'
      ;;
    ' notify')
      commands='list test'
      options='-h/--help'
      ;;
    ' notify list')
      options='--json -h/--help'
      ;;
    ' notify test')
      options='--dry-run --json -h/--help'
      ;;
    ' plugins')
      options='--check --json -h/--help'
      ;;
    ' queue')
      commands='acquire bump cancel history list pause resume run show stats submit ticket wait'
      options='-h/--help'
      ;;
    ' queue acquire')
      options='--fd=- --wait=- --json -h/--help'
      ;;
    ' queue bump')
      options='--priority=critical,high,normal,low --reason=- --dry-run --json -h/--help'
      arguments='@ticket'
      ;;
    ' queue cancel')
      options='--json --dry-run -h/--help'
      arguments='@ticket'
      ;;
    ' queue history')
      options='--workspace=@workspace --limit=- --jsonl --json -h/--help'
      arguments='@resource'
      ;;
    ' queue list')
      options='--json --resource=@resource -h/--help'
      ;;
    ' queue pause')
      options='--reason=- --dry-run --json -h/--help'
      arguments='@resource'
      ;;
    ' queue resume')
      options='--dry-run --json -h/--help'
      arguments='@resource'
      ;;
    ' queue run')
      options='--wait=- --timeout=- --priority=critical,high,normal,low --retries=- --backoff=fixed,exponential --delay=- --key=- --label=- --result=@file --need=- --on-caller-exit=stop,keep -h/--help'
      arguments='@resource+'
      runs='1'
      ;;
    ' queue show')
      options='--json -h/--help'
      arguments='@ticket,@run'
      ;;
    ' queue stats')
      options='--since=- --json -h/--help'
      ;;
    ' queue submit')
      options='--wait=- --timeout=- --priority=critical,high,normal,low --retries=- --backoff=fixed,exponential --delay=- --key=- --label=- --result=@file --need=- --json -h/--help'
      arguments='@resource+'
      runs='1'
      ;;
    ' queue ticket')
      options='--priority=critical,high,normal,low --key=- --label=- --json -h/--help'
      arguments='@resource+'
      ;;
    ' queue wait')
      options='--timeout=- --quiet --json -h/--help'
      arguments='@run'
      ;;
    ' sim')
      commands='faults reset start status stop'
      options='-h/--help'
      ;;
    ' sim faults')
      options='--json -h/--help'
      ;;
    ' sim reset')
      options='--name=@device --json -h/--help'
      ;;
    ' sim start')
      options='--name=@device --ota-port=- --http-port=- --fault+=- --pace=- --mac=- --identity=- --partition-size=- --filesystem-size=- --password-env=- --password-file=- --login=md5,sha256,sha256-md5 --usb --usb-link=pty,rfc2217 --mdns --reboot=- --dry-run --json -h/--help'
      ;;
    ' sim status')
      options='--name=@device --json -h/--help'
      ;;
    ' sim stop')
      options='--name=@device --dry-run --json -h/--help'
      ;;
    ' slo')
      options='--window=- --format=text,nagios --json -h/--help'
      arguments='build-success,upload-success,upload-time,turn-time+'
      ;;
    ' status')
      options='-a/--all --watch=- --json -h/--help'
      ;;
    ' tools')
      commands='install status'
      options='-h/--help'
      ;;
    ' tools install')
      options='--dry-run --json -h/--help'
      arguments='platformio,esptool'
      ;;
    ' tools status')
      options='--json -h/--help'
      ;;
    ' top')
      options='--interval=- --plain -h/--help'
      ;;
    ' upload')
      options='--device=any,@device --artifact=@artifact,@file --build --filesystem --force --interface=- --via=auto,ota,usb --full --soak=- --wait=@run --wait-limit=- --priority=critical,high,normal,low --dry-run --json -h/--help'
      arguments='@target'
      ;;
    ' why')
      options='--json -h/--help'
      arguments='last,@workspace,@ticket,@run,@device,@target'
      ;;
    ' worktree')
      commands='add doctor du list ports repair setup show which'
      options='-h/--help'
      ;;
    ' worktree add')
      options='--branch=- --base=- --path=@folder --lock=- --cache=auto,store,clone,copy,install,symlink --no-setup --dry-run --json -h/--help'
      arguments='-'
      ;;
    ' worktree doctor')
      options='--all --json -h/--help'
      arguments='@workspace+'
      ;;
    ' worktree du')
      options='--refresh --sort=size,name,idle --json -h/--help'
      arguments='@workspace+'
      ;;
    ' worktree list')
      options='--refresh --json -h/--help'
      ;;
    ' worktree ports')
      options='--release --dry-run --json -h/--help'
      arguments='@workspace'
      ;;
    ' worktree repair')
      options='--all --dry-run --json -h/--help'
      arguments='@workspace+'
      ;;
    ' worktree setup')
      options='--unlink/--no-unlink --only+=- --skip+=- --cache=auto,store,clone,copy,install,symlink --again --wait=- --list --dry-run --json -h/--help'
      ;;
    ' worktree show')
      options='--json -h/--help'
      arguments='@workspace'
      ;;
    ' worktree which')
      options='--json -h/--help'
      arguments='-'
      ;;
  esac
}

_k1ctl_settings='
alerts.budget.for alerts.budget.limit alerts.budget.on alerts.burn.for alerts.burn.on alerts.device.age
alerts.device.for alerts.device.on alerts.disk.for alerts.disk.limit alerts.disk.on alerts.escalation.for
alerts.escalation.on alerts.exporter.for alerts.exporter.on alerts.gap alerts.host.for alerts.host.level
alerts.host.on alerts.queue.for alerts.queue.limit alerts.queue.on alerts.resolve alerts.success.events
alerts.success.for alerts.success.limit alerts.success.on alerts.success.window alerts.throttle archive.branch_policy
archive.conductor archive.exclude archive.include archive.keep archive.keep_trash archive.limit archive.older_than
archive.regenerable archive.secrets archive.store artifact.keep artifact.limit artifact.store budget.agent_day
budget.agent_day_usd budget.buckets.@.percent budget.buckets.@.provider budget.buckets.@.requests
budget.buckets.@.tokens budget.buckets.@.window budget.chains.@.models budget.day budget.day_usd budget.github.spacing
budget.github.timeout budget.github.token_env budget.github.url budget.github.writes_hour budget.github.writes_minute
budget.hour budget.hour_usd budget.keys.@.bucket budget.keys.@.env budget.keys.@.file budget.pools.@ budget.prices
budget.providers.@.failures budget.providers.@.models budget.providers.@.probe budget.reserve_pool budget.soft
budget.task budget.task_usd budget.unknown_model budget.weights.cache_read budget.weights.cache_write
budget.weights.input budget.weights.output budget.zone build.cache build.cache_size build.jobs build.timeout
capacity.admit_percent capacity.agents capacity.base capacity.build_percent capacity.cpus capacity.gpu_memory
capacity.gpu_per_agent capacity.heavy.@ capacity.kill_percent capacity.limit_by capacity.memory capacity.models.@
capacity.oom_retries capacity.per_agent capacity.reserve capacity.suspend_percent capacity.tokens console.baud
console.keep console.limit defaults.device defaults.target device.window devices.@.boot_timeout devices.@.build_id
devices.@.fps_min devices.@.groups devices.@.heap_min devices.@.host devices.@.http_port devices.@.identity
devices.@.interface devices.@.mac devices.@.ota_host_port devices.@.ota_port devices.@.password_env
devices.@.password_file devices.@.probe_timeout devices.@.rssi_min devices.@.soak devices.@.usb_port
disk.archive_percent disk.stop_percent disk.total_quota disk.workspace_quota escalation.failures_agent
escalation.failures_human escalation.forget escalation.offline_human escalation.offline_incident escalation.retrying
events.compress events.keep hooks.target hooks.wait metrics.active metrics.aliases metrics.fps_target metrics.hosts
metrics.most metrics.period metrics.port notify.apprise_env notify.apprise_file notify.command notify.timeout
ota.attempt_timeout ota.attempts ota.connect_timeout ota.idle_timeout ota.invitation_interval ota.invitations
ota.login_timeout ota.retry_delay ports.count ports.first ports.last process.grace process.keep_runs process.sample
queue.ageing queue.dir queue.max_length queue.park queue.slots.@ queue.stall run_targets.@.about run_targets.@.command
run_targets.@.interactive run_targets.@.path run_targets.@.port run_targets.@.resources run_targets.@.timeout
run_targets.@.wait setup.@.command setup.@.inputs setup.@.needs setup.@.path setup.@.timeout slo.@.escalate
slo.@.investigate slo.@.kind slo.@.of slo.@.percent slo.@.window slo.@.within stores.@.bucket stores.@.endpoint
stores.@.key_env stores.@.kind stores.@.path stores.@.prefix stores.@.region stores.@.secret_env targets.@.build_id
targets.@.chip targets.@.command targets.@.command_release targets.@.device targets.@.env targets.@.filesystem_size
targets.@.kind targets.@.outputs targets.@.partition_size targets.@.path targets.@.release_env targets.@.release_flags
targets.@.script targets.@.script_release test.attempts test.delay test.duration test.lost test.patterns
test.regression test.settle tools.addr2line tools.esptool tools.pio usb.baud usb.connect_timeout usb.stub
usb.yield_timeout worktree.cache worktree.copy worktree.npm worktree.read_only worktree.skip worktree.templates
worktree.tools
'

complete -o nospace -F _k1ctl k1ctl
