SELECT event_id, client_id, 'llm.tokens', NULL, tokens, created_at FROM completion
