#compdef mkimage
# Completion of mkimage in zsh. The program itself says what fits.
_mkimage() {
    local word text
    local -a found folders
    while IFS=$'\t' read -r word text; do
        if [[ "$word" == */ ]]; then
            folders+=("$word")
        else
            found+=("${word//:/\\:}${text:+:$text}")
        fi
    done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)
    if (( ${#found} + ${#folders} == 0 )); then
        _files
        return
    fi
    (( ${#found} )) && _describe -t words 'mkimage' found
    (( ${#folders} )) && compadd -S '' -a folders
}
if [[ "${funcstack[1]}" == _mkimage ]]; then
    _mkimage "$@"
else
    compdef _mkimage mkimage
fi
