CREATE FUNCTION public.act_for(client_id text) RETURNS text
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT row_security_active('plan_play'::regclass) OR current_setting('app.all_clients', true) = 'on' THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('%s may not act for one client: row-level security does not hold it to that one', current_user);
    END IF;
    RETURN set_config('app.client_id', client_id, true);
END
$$;
CREATE FUNCTION public.billable_fact_exists(p_client_id text, p_event_id text) RETURNS boolean
    LANGUAGE sql STABLE
    AS $_$
    SELECT EXISTS (
        SELECT FROM plan_play
        WHERE id = CASE
                WHEN split_part(p_event_id, ':', 2) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                THEN split_part(p_event_id, ':', 2)::uuid
            END
          AND client_id = p_client_id
          AND CASE split_part(p_event_id, ':', 1)
                WHEN 'plan_play.created' THEN true
                WHEN 'plan_play.completed' THEN first_ended_at IS NOT NULL
                ELSE false
              END
    )
    $_$;
CREATE FUNCTION public.plan_play_exists(wanted uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public'
    AS $$SELECT EXISTS (SELECT FROM public.plan_play WHERE id = wanted)$$;
CREATE FUNCTION public.utc_now() RETURNS timestamp with time zone
    LANGUAGE sql
    AS $$SELECT clock_timestamp()$$;
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE public.admin_audit (
    audit_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL
);
ALTER TABLE public.admin_audit ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.admin_audit_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.billable_event (
    hold_id uuid NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL,
    client_id text NOT NULL,
    event_type text NOT NULL,
    user_id text,
    units bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    parked_at timestamp with time zone,
    last_error text,
    request_id text,
    traceparent text,
    CONSTRAINT billable_event_outcome CHECK ((outcome = ANY (ARRAY['happened'::text, 'abandoned'::text]))),
    CONSTRAINT billable_event_units CHECK ((units > 0))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_insert_threshold='-1');
CREATE TABLE public.plan_play (
    id uuid NOT NULL,
    client_id text NOT NULL,
    user_id text,
    plan_id text NOT NULL,
    status text NOT NULL,
    planned_lessons text[] NOT NULL,
    current_lesson_index integer NOT NULL,
    completed_lessons text[] NOT NULL,
    completed_lesson_plays text[] NOT NULL,
    total_lessons_completed integer NOT NULL,
    email text,
    display_name text,
    photo_url text,
    assignment_source text,
    risk_level text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_played_at timestamp with time zone,
    completed_at timestamp with time zone,
    first_ended_at timestamp with time zone,
    fingerprint bytea,
    CONSTRAINT plan_play_current_lesson_index CHECK ((current_lesson_index >= 0)),
    CONSTRAINT plan_play_ended_is_billed CHECK (((status <> 'ended'::text) OR (first_ended_at IS NOT NULL))),
    CONSTRAINT plan_play_status CHECK ((status = ANY (ARRAY['active'::text, 'paused'::text, 'ended'::text, 'cancelled'::text]))),
    CONSTRAINT plan_play_total_lessons_completed CHECK ((total_lessons_completed >= 0))
);
CREATE TABLE public.sql_function (
    name text NOT NULL,
    number bigint NOT NULL,
    sha256 bytea NOT NULL
);
ALTER TABLE public.sql_function ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.sql_function_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO public._yoyo_migration VALUES ('dd09fcfebdf54d0eb2092cf34bdc69e94e2aa011438951fc6705981f139263a5', '0001_plan_plays', '2026-11-28 09:19:59.710608');
INSERT INTO public._yoyo_migration VALUES ('e8c38df7f3886529a1a0e7509035f57688f3a134db70d1c8cbe0d4d3aa2790b1', '0002_row_security', '2026-11-28 09:19:59.714645');
INSERT INTO public._yoyo_migration VALUES ('c3e54a02240ef62120d513e7b8c3206599f8f749f5dba71cb0446626b3ca04d2', '0003_admin_audit', '2026-11-28 09:19:59.718681');
INSERT INTO public._yoyo_version VALUES (2, '2026-11-28 09:19:59.683828');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('act_for', 1, '\x4fa5125161227019dbd4da12a9df67f735f4bef97b5821b0d6bac5b80c597c18');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('billable_fact_exists', 2, '\xf62e446e4bf6550ed58dd4861eabd50c94f218ffa038087fa4a4d48ff24e9a4b');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('plan_play_exists', 3, '\xc285d82fd215d13db891a49e6d4b89be5768d8ac808a81893038fa49c36c1a4f');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('utc_now', 4, '\x219a1bb5b06628dbfbd868edbc5ed666259ee450328a563f0a97da91799e69ca');
SELECT pg_catalog.setval('public.admin_audit_audit_id_seq', 1, false);
SELECT pg_catalog.setval('public.sql_function_number_seq', 4, true);
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.admin_audit
    ADD CONSTRAINT admin_audit_pkey PRIMARY KEY (audit_id);
ALTER TABLE ONLY public.billable_event
    ADD CONSTRAINT billable_event_pkey PRIMARY KEY (hold_id);
ALTER TABLE ONLY public.plan_play
    ADD CONSTRAINT plan_play_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sql_function
    ADD CONSTRAINT sql_function_pkey PRIMARY KEY (name, number);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX admin_audit_by_target ON public.admin_audit USING btree (target, audit_id);
CREATE INDEX plan_play_of_client ON public.plan_play USING btree (client_id, created_at DESC, id DESC);
CREATE INDEX plan_play_of_user ON public.plan_play USING btree (client_id, user_id, created_at DESC, id DESC);
CREATE POLICY all_clients ON public.billable_event TO activity_service USING ((current_setting('app.all_clients'::text, true) = 'on'::text));
CREATE POLICY all_clients ON public.plan_play TO activity_service USING ((current_setting('app.all_clients'::text, true) = 'on'::text));
ALTER TABLE public.billable_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY one_client ON public.billable_event TO activity_service USING ((client_id = NULLIF(current_setting('app.client_id'::text, true), ''::text)));
CREATE POLICY one_client ON public.plan_play TO activity_service USING ((client_id = NULLIF(current_setting('app.client_id'::text, true), ''::text)));
ALTER TABLE public.plan_play ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA public TO activity_service;
REVOKE ALL ON FUNCTION public.plan_play_exists(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.plan_play_exists(wanted uuid) TO activity_service;
GRANT SELECT ON TABLE public._yoyo_migration TO activity_service;
GRANT SELECT,INSERT ON TABLE public.admin_audit TO activity_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.billable_event TO activity_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.plan_play TO activity_service;
GRANT SELECT ON TABLE public.sql_function TO PUBLIC;
