# Completion of klaviyo-worker for fish. It asks the program's own --help, so it
# knows what the program knows. For names of connections, exports, segments and
# runs the program asks the database; where that does not answer there are none.

function __klaviyo_worker_commands
    klaviyo-worker --help 2>/dev/null | string replace -rf '^  ([a-z][a-z-]*(?: [a-z][a-z-]*)?)  +(.*)$' '$1\t$2'
end

# The words of the command on the line: one or two.
function __klaviyo_worker_chosen
    set -l words (commandline -opc)[2..]
    set -l names (__klaviyo_worker_commands | string replace -r '\t.*' '')
    for n in 2 1
        test (count $words) -ge $n; or continue
        contains -- "$words[1..$n]" $names; and begin
            string join \n -- $words[1..$n]
            return 0
        end
    end
    return 1
end

function __klaviyo_worker_candidates
    set -l words (commandline -opc)[2..]
    if set -l chosen (__klaviyo_worker_chosen)
        set -l names (timeout 2 klaviyo-worker __complete -- $words (commandline -ct) 2>/dev/null)
        test (count $names) -gt 0; and string join \n -- $names
        klaviyo-worker $chosen --help 2>/dev/null |
            string replace -rf '^  (--[a-z-]+)(?: [A-Za-z_][^ ]*)? +(.*)$' '$1\t$2'
        return
    end
    set -l line (string join ' ' -- $words)
    __klaviyo_worker_commands | while read -l command
        if test -z "$line"
            string replace -r '[ \t].*' '' -- $command
        else if string match -q -- "$line *" $command
            string replace -- "$line " '' $command
        end
    end | sort -u
end

complete -c klaviyo-worker -f -a '(__klaviyo_worker_candidates)'
complete -c klaviyo-worker -F -n 'string match -qr -- "^--(out|api-key-file|env-file)\$" (commandline -opc)[-1]'
