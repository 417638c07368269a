-- depends: 0003_charges_in_order
-- Keep one plan for each statement of the decisions. Left alone, the server made a new one for every call: it takes an
-- array of ten for granted where it does not know, so a plan for the very batch always looks cheaper than the one that it
-- would keep. With one event in a call planning was half of what a decision cost. What a plan may do is fixed anyway.
-- Locks: none that anybody waits for.
ALTER FUNCTION lock_accounts SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION authorize_events SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION settle_events SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION release_holds SET plan_cache_mode = force_generic_plan;
