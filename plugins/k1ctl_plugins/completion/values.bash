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
