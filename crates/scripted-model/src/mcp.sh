# An MCP server that is a program, for tests: `sh mcp.sh [WAY]`.
#
# It speaks the revision 2025-11-25, or with REVISION=stateless that of 2026-07-28. `query` finds what it is asked for,
# `whoami` says the TOKEN it was started with, `count` how often tools were called, `drop` must never be called, `die` ends the server, `hang` never answers, and
# `endless` answers without an end. A WAY is how it goes wrong before all that.

say() { printf '%s\n' "$1"; }
answer() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{$complete$1}}"; }
text() { answer "\"content\":[{\"type\":\"text\",\"text\":\"$1\"}]"; }
tool() { printf '{"name":"%s","description":"","inputSchema":{"type":"object","properties":{"query":{"type":"string"}}}}' "$1"; }
field() { printf '%s' "$line" | sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'; }

me='"name":"scripted","version":"1"'
[ "$REVISION" = stateless ] && complete='"resultType":"complete",'
case $1 in
garbage) say "listening on stdio" ;;
exit) echo "there is no database" >&2; exit 3 ;;
loud) yes "this line is written many times, so that there is more of it than anybody wants to see" | head -n 4000 >&2 ;;
esac
echo "serving ${TOKEN:-nobody}" >&2
calls=0
while IFS= read -r line; do
    id=$(field id)
    case $line in
    *'"method":"server/discover"'*)
        if [ "$REVISION" = stateless ]; then
            answer '"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{'"$me"'}}'
        else
            say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"there is no such method\"}}"
        fi ;;
    *'"method":"initialize"'*)
        answer '"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{'"$me"'}' ;;
    *'"method":"tools/list"'*)
        [ "$1" = silent ] && continue
        tools=$(for name in query whoami count drop die hang; do tool $name; printf ,; done; tool endless)
        answer "\"ttlMs\":0,\"cacheScope\":\"private\",\"tools\":[$tools]" ;;
    *'"method":"tools/call"'*)
        calls=$(expr $calls + 1)
        case $line in
        *'"name":"query"'*) text "rows of $(field query)" ;;
        *'"name":"whoami"'*) text "you gave me $TOKEN" ;;
        *'"name":"count"'*) text "$calls" ;;
        *'"name":"drop"'*) text dropped ;;
        *'"name":"die"'*) echo "the disk is full" >&2; exit 9 ;;
        *'"name":"endless"'*) printf '{"text":"'; tr '\0' x </dev/zero ;;
        esac ;;
    esac
done
