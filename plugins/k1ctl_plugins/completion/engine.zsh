# Completion of k1ctl for zsh 5. No process is started to list values: they are read from ops/ here.

_k1ctl() {
  local -a k1_words=("${words[@]}")
  local k1_root='' k1_git='' k1_ops='' k1_queue=''
  local -a k1_devices k1_targets k1_run_targets k1_slots
  _k1ctl_top
}

# The root from --root, K1CTL_ROOT or CONDUCTOR_ROOT_PATH, else around this folder. False when there is none.
_k1ctl_root() {
  local folder='' word
  local -i i
  [[ -n $k1_ops ]] && return
  for ((i = 2; i < $#k1_words; i++)); do
    word=${(Q)k1_words[i]}
    case $word in
      (--root) folder=${(Q)k1_words[i+1]} ;;
      (--root=*) folder=${word#*=} ;;
      (-*) continue ;;
    esac
    [[ $word == -* ]] || break
    [[ $word == --root ]] && ((i++))
  done
  folder=${folder:-${K1CTL_ROOT:-$CONDUCTOR_ROOT_PATH}}
  if [[ -n $folder ]]; then
    [[ $folder == '~'(|/*) ]] && folder=$HOME${folder#'~'}
    [[ -d $folder ]] || return 1
    k1_root=${folder:A}
    _k1ctl_checkout $k1_root
  else
    folder=${PWD:A}
    until _k1ctl_checkout $folder; do
      [[ $folder == / ]] && return 1
      folder=${folder:h}
    done
  fi
  k1_ops=$k1_root/ops
}

# Whether the folder $1 is the top of a checkout; the root is the main checkout's (gitrepository-layout(5)).
_k1ctl_checkout() {
  local link='' common=''
  if [[ -d $1/.git ]]; then
    k1_root=$1 k1_git=$1/.git
    return 0
  fi
  [[ -f $1/.git && -r $1/.git ]] || return 1
  IFS= read -r link <$1/.git
  [[ $link == gitdir:* ]] || return 1
  link=${link#gitdir:} link=${link##[[:space:]]#}
  [[ $link == /* ]] || link=$1/$link
  k1_root=$1 k1_git=${link:A}
  if [[ -r $link/commondir ]]; then
    IFS= read -r common <$link/commondir
    [[ $common == /* ]] || common=$link/$common
    k1_git=${common:A} k1_root=${common:A:h}
  fi
  return 0
}

# Reads ops/k1ctl.toml once: the names of tables, those of slots, and the folder of the queue.
_k1ctl_config() {
  local line table='' dir=$K1CTL_QUEUE_DIR REPLY
  [[ -n $k1_queue ]] && return
  _k1ctl_root || return 1
  if [[ -r $k1_ops/k1ctl.toml ]]; then
    while IFS= read -r line || [[ -n $line ]]; do
      line=${line##[[:space:]]#}
      case $line in
        (''|'#'*) ;;
        ('['*)
          table=${line#\[}
          case $table in
            (devices.*) _k1ctl_name ${table#*.} && k1_devices+=("$REPLY") ;;
            (targets.*) _k1ctl_name ${table#*.} && k1_targets+=("$REPLY") ;;
            (run_targets.*) _k1ctl_name ${table#*.} && k1_run_targets+=("$REPLY") ;;
          esac
          table=${table%%\]*}
          ;;
        (*)
          case $table in
            (queue.slots) _k1ctl_name $line && k1_slots+=("$REPLY") ;;
            (queue) [[ $line == dir[\ =]* && -z $dir ]] && _k1ctl_name ${${line#*=}##[[:space:]]#} && dir=$REPLY ;;
          esac
          ;;
      esac
    done <$k1_ops/k1ctl.toml
  fi
  case $dir in
    ('') k1_queue=$k1_ops/queue ;;
    (/*) k1_queue=$dir ;;
    ('~'|'~/'*) k1_queue=$HOME${dir#'~'} ;;
    (*) k1_queue=$k1_root/$dir ;;
  esac
}

# REPLY becomes the first part of the dotted key $1, or the quoted text; one with escapes in it is left out.
_k1ctl_name() {
  case $1 in
    (\"*) REPLY=${${1#\"}%%\"*} ;;
    (\'*) REPLY=${${1#\'}%%\'*} ;;
    (*) REPLY=${1%%[].= ]*} ;;
  esac
  [[ -n $REPLY && $REPLY != *\\* ]]
}

# Offers values of one kind; what a terminal cannot show is left out.
_k1ctl_offer() {
  local tag=$1 what=$2 expl
  shift 2
  local -aU values=("${(@)argv:#*[[:cntrl:]]*}")
  _wanted $tag expl $what compadd -a values
}

_k1ctl_device() {
  _k1ctl_config && _k1ctl_offer devices device $k1_devices
}

_k1ctl_target() {
  _k1ctl_config && _k1ctl_offer targets target $k1_targets
}

_k1ctl_run_target() {
  _k1ctl_config && _k1ctl_offer run-targets 'run target' $k1_run_targets
}

_k1ctl_workspace() {
  local file line
  local -a names
  _k1ctl_root || return
  names=(${k1_root:t})
  for file in $k1_git/worktrees/*/gitdir(N); do
    [[ -r $file ]] && IFS= read -r line <$file && names+=(${${line%/.git}:t})
  done
  _k1ctl_offer workspaces workspace $names
}

# A ticket's file name ends in its resources: w50.0000000012.4711.9f3c2a11.device:k1=1,build:fw=2; P.NAME pauses one.
_k1ctl_resource() {
  local -a files names
  _k1ctl_config || return
  files=($k1_queue/tickets/*(N:t))
  names=(${${(M)files:#[wrp]<->.<->.<->.*.*}#*.*.*.*.})
  names=(${${(s:,:)${(j:,:)names}}%=*} ${${(M)files:#P.*}#P.})
  names+=($k1_queue/history/*(N:t) device:${^k1_devices} build:${^k1_targets} $k1_slots)
  _k1ctl_offer resources resource ${(M)names:#[A-Za-z0-9][A-Za-z0-9:_@+-]#}
}

_k1ctl_ticket() {
  local file state expl
  local -a parts numbers shown
  local -A states=(w waiting r running p parked)
  _k1ctl_config || return
  for file in $k1_queue/tickets/[wrp][0-9]*.[0-9]*.*.*.*(N:t); do
    parts=(${(s:.:)file})
    [[ $parts[2] == <-> && $file != *[[:cntrl:]]* ]] || continue
    numbers+=(${parts[2]##0#})
    shown+=("${parts[2]##0#}  $states[${file[1]}]  ${file#*.*.*.*.}")
  done
  _wanted -V tickets expl ticket compadd -l -d shown -a numbers
}

_k1ctl_run() {
  local expl
  local -a runs
  _k1ctl_root || return
  runs=($k1_ops/runs/[0-9a-f.-]##(N/On[1,50]:t))
  _wanted -V runs expl 'run, the newest first' compadd -a runs
}

_k1ctl_archive() {
  local -a files
  _k1ctl_root && [[ -n $k1_git ]] || return
  files=($k1_git/k1ctl/archive/[0-9][A-Za-z0-9._-]#/manifest.json(N:h:t))
  _k1ctl_offer archives archive $files
}

_k1ctl_artifact() {
  local file expl
  local -a ids shown
  _k1ctl_root || return
  for file in $k1_ops/artifacts/*/[0-9a-f](#c16)(N/); do
    ids+=(${file:t})
    shown+=("${file:t}  ${(V)file:h:t}")
  done
  _wanted artifacts expl artifact compadd -l -d shown -a ids
}

# Settings: devices.@.host stands for one of each device.
_k1ctl_key() {
  local pattern
  local -a names keys
  _k1ctl_config
  for pattern in $_k1ctl_settings; do
    case $pattern in
      (devices.@*) names=($k1_devices) ;;
      (targets.@*) names=($k1_targets) ;;
      (run_targets.@*) names=($k1_run_targets) ;;
      (queue.slots.@*) names=($k1_slots) ;;
      (*@*) names=() ;;
      (*) keys+=($pattern) && continue ;;
    esac
    names=(${(M)names:#[A-Za-z0-9:_@+-]#} \"${^${names:#[A-Za-z0-9:_@+-]#}}\")
    keys+=(${pattern%%@*}${^names}${pattern#*@})
  done
  _k1ctl_offer settings setting $keys
}

# The command line behind --, completed as if it stood alone. False when the cursor is before it.
_k1ctl_foreign() {
  local -i at=${words[(i)--]}
  ((at < CURRENT)) || return
  shift $at words
  ((CURRENT -= at))
  _normal
  return 0
}
