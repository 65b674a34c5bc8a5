_xctl_probe_network_completion() {
    local IFS=$'
'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" \
                   COMP_CWORD=$COMP_CWORD \
                   _XCTL_PROBE_NETWORK_COMPLETE=complete_bash $1 ) )
    return 0
}

complete -o default -F _xctl_probe_network_completion xctl-probe-network
