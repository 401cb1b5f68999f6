# Completion of klaviyo-worker for bash. It asks the program's own --help, so it
# knows what the program knows. For names of connections, exports, segments and
# runs the program asks the database; where that does not answer there are none.

_klaviyo_worker_commands() {
  "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\{0,1\}\)  .*/\1/p'
}

_klaviyo_worker_options() {
  "$@" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
}

# _klaviyo_worker_value OPTION PROGRAM COMMAND...: how --help calls the option's value.
_klaviyo_worker_value() {
  local option=$1
  shift
  "$@" --help 2>/dev/null | sed -n "s/^  $option \([A-Za-z_][^ ]*\) .*/\1/p"
}

_klaviyo_worker_states() {
  "$@" --help 2>/dev/null | sed -n '/^States:/,/\.$/{s/^States://;s/[.,]//g;p}'
}

# Names, one a line; each is quoted for the shell.
_klaviyo_worker_names() {
  local name
  timeout 2 "$1" __complete -- "${@:2}" 2>/dev/null | while IFS= read -r name; do printf '%q\n' "$name"; done
}

_klaviyo_worker() {
  local program=$1 word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local commands groups words=() value i
  COMPREPLY=()
  commands=$(_klaviyo_worker_commands "$program")
  groups=$(sed 's/ .*//' <<<"$commands" | sort -u)

  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$groups --help --version" -- "$word")
    return
  fi
  # The command's words: one or two.
  for i in "${COMP_WORDS[1]}" "${COMP_WORDS[1]} ${COMP_WORDS[2]}"; do
    grep -qxF -- "$i" <<<"$commands" && read -ra words <<<"$i"
  done
  if [ "${#words[@]}" -eq 0 ] || [ "$COMP_CWORD" -le "${#words[@]}" ]; then
    if [ "$COMP_CWORD" -eq 2 ]; then
      mapfile -t COMPREPLY < <(compgen -W \
        "$(sed -n "s/^${COMP_WORDS[1]} //p" <<<"$commands") --help" -- "$word")
    fi
    return
  fi

  value=
  [[ $before != --* ]] || value=$(_klaviyo_worker_value "$before" "$program" "${words[@]}")
  case $value in
    FILE*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    STATE) mapfile -t COMPREPLY < <(compgen -W \
      "$(_klaviyo_worker_states "$program" "${words[@]}")" -- "$word") ;;
    [a-z]*'|'*) mapfile -t COMPREPLY < <(compgen -W "${value//|/ }" -- "$word") ;;
    ?*) mapfile -t COMPREPLY < <(_klaviyo_worker_names "$program" "${COMP_WORDS[@]:1:COMP_CWORD}") ;;
    *)
      [[ $word == -* ]] ||
        mapfile -t COMPREPLY < <(_klaviyo_worker_names "$program" "${COMP_WORDS[@]:1:COMP_CWORD}")
      [[ ($word != -* && -n $word) || ${#COMPREPLY[@]} -gt 0 ]] ||
        mapfile -t COMPREPLY < <(compgen -W \
          "$(_klaviyo_worker_options "$program" "${words[@]}") --help" -- "$word")
      ;;
  esac
}

complete -F _klaviyo_worker klaviyo-worker
