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
