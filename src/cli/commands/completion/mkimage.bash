# Completion of mkimage in bash. The program itself says what fits.
_mkimage() {
    local line="${COMP_LINE:0:COMP_POINT}" word cut=""
    local -a words
    read -r -a words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local current="${words[-1]}"
    # Readline takes what stands behind the last of these for the word, and replaces no more than that.
    if [[ "$COMP_WORDBREAKS" == *:* && "$current" == *:* ]]; then
        cut="${current%"${current##*:}"}"
    elif [[ "$COMP_WORDBREAKS" == *=* && "$current" == *=* ]]; then
        cut="${current%"${current##*=}"}"
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("${word#"$cut"}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == */ ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o default -F _mkimage mkimage
