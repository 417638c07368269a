export no_proxy=127.0.0.1,localhost
eval "$(./ctl addresses)"

echo; echo "--- a token for the demo's client; every demo client's secret is its name and -secret"
field() { python3 -c "import json, sys; print(json.load(sys.stdin)['data']['$1'])"; }
token() { curl -s "$CATALOG/generate-client-auth-token" -H 'Content-Type: application/json' \
  -d "{\"client_id\": \"$1\", \"client_secret\": \"$1-secret\", \"fingerprint\": \"tour\"}" | field access_token; }
TOKEN=$(token demo); echo "$TOKEN"

echo; echo "--- its plans of one collection"
curl -s "$CATALOG/get-plans" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
  -d '{"collection_id": "collection-123"}'; echo

echo; echo "--- a play of one of them: costs a credit"
create() { curl -s "$ACTIVITY/api/plan-plays" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' \
  -d '{"planId": "plan-abc-123", "userId": "user-1"}'; }
PLAY=$(create "$TOKEN" | field id); echo "$PLAY"

echo; echo "--- its completion: costs another; doing it again costs nothing"
complete() { curl -s -X PATCH "$ACTIVITY/api/plan-plays/$PLAY" -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' -d '{"status": "ended"}'; }
complete; echo; complete >/dev/null

echo; echo "--- three refusals: too fast after 3, over the month's quota after 5, out of credits after 3"
for CLIENT in demo-rate demo-quota demo-credits; do
  REFUSED=$(token $CLIENT); for TRY in 1 2 3 4 5; do create "$REFUSED" >/dev/null; done
  create "$REFUSED"; echo
done

echo; echo "--- what was charged: the ledger and the balance of the demo's client"
./ctl metering ledger demo
./ctl metering balance demo
