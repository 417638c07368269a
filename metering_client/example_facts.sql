SELECT event_id, client_id, 'llm.tokens', NULL::text, tokens, created_at FROM completion
