CREATE FUNCTION public.act_for(client_id text) RETURNS text
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT row_security_active('plan'::regclass) OR current_setting('app.all_clients', true) = 'on' THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('%s may not act for one client: row-level security does not hold it to that one', current_user);
    END IF;
    RETURN set_config('app.client_id', client_id, true);
END
$$;
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
CREATE TABLE public.client (
    client_id text NOT NULL,
    name text NOT NULL,
    may_read_all_clients boolean DEFAULT false NOT NULL,
    disabled_at timestamp with time zone,
    plans_version bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT client_id_shape CHECK ((client_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'::text))
);
CREATE TABLE public.client_secret (
    client_id text NOT NULL,
    secret_id text NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    CONSTRAINT client_secret_sha256_length CHECK ((octet_length(sha256) = 32))
);
CREATE TABLE public.plan (
    client_id text NOT NULL,
    plan_id text NOT NULL,
    plan_name text NOT NULL,
    description text NOT NULL,
    collection_id text NOT NULL,
    color text NOT NULL,
    associated_documents jsonb DEFAULT '[]'::jsonb NOT NULL,
    associated_supplemental_benefits jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT plan_benefits_array CHECK ((jsonb_typeof(associated_supplemental_benefits) = 'array'::text)),
    CONSTRAINT plan_documents_array CHECK ((jsonb_typeof(associated_documents) = 'array'::text))
);
CREATE TABLE public.signing_key (
    kid text NOT NULL,
    private_pem text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    signs_from timestamp with time zone NOT NULL,
    published_until timestamp with time zone
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
INSERT INTO public._yoyo_migration VALUES ('29a5a2ab7f434908df7ee17457270f4a8112d06e4c3c60a8d7ea965f1b68e8fd', '0001_clients_plans_and_signing_keys', '2026-11-28 09:19:59.553595');
INSERT INTO public._yoyo_migration VALUES ('e8c38df7f3886529a1a0e7509035f57688f3a134db70d1c8cbe0d4d3aa2790b1', '0002_row_security', '2026-11-28 09:19:59.557388');
INSERT INTO public._yoyo_version VALUES (2, '2026-11-28 09:19:59.513368');
INSERT INTO public.sql_function OVERRIDING SYSTEM VALUE VALUES ('act_for', 1, '\x9c8fc0d351bd969a0ecb57ebd2842df5a639820f1ba23238d6e197ac05a994c6');
SELECT pg_catalog.setval('public.admin_audit_audit_id_seq', 1, false);
SELECT pg_catalog.setval('public.sql_function_number_seq', 1, true);
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.admin_audit
    ADD CONSTRAINT admin_audit_pkey PRIMARY KEY (audit_id);
ALTER TABLE ONLY public.client
    ADD CONSTRAINT client_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY public.client_secret
    ADD CONSTRAINT client_secret_pkey PRIMARY KEY (client_id, secret_id);
ALTER TABLE ONLY public.client_secret
    ADD CONSTRAINT client_secret_sha256_key UNIQUE (client_id, sha256);
ALTER TABLE ONLY public.plan
    ADD CONSTRAINT plan_pkey PRIMARY KEY (client_id, plan_id);
ALTER TABLE ONLY public.signing_key
    ADD CONSTRAINT signing_key_pkey PRIMARY KEY (kid);
ALTER TABLE ONLY public.sql_function
    ADD CONSTRAINT sql_function_pkey PRIMARY KEY (name, number);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX admin_audit_by_target ON public.admin_audit USING btree (target, audit_id);
CREATE INDEX plan_by_collection ON public.plan USING btree (client_id, collection_id);
ALTER TABLE ONLY public.client_secret
    ADD CONSTRAINT client_secret_client_fkey FOREIGN KEY (client_id) REFERENCES public.client(client_id);
ALTER TABLE ONLY public.plan
    ADD CONSTRAINT plan_client_fkey FOREIGN KEY (client_id) REFERENCES public.client(client_id);
CREATE POLICY one_client ON public.plan TO catalog_service USING ((client_id = NULLIF(current_setting('app.client_id'::text, true), ''::text)));
ALTER TABLE public.plan ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA public TO catalog_service;
GRANT SELECT ON TABLE public._yoyo_migration TO catalog_service;
GRANT SELECT,INSERT ON TABLE public.admin_audit TO catalog_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.client TO catalog_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.client_secret TO catalog_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.plan TO catalog_service;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.signing_key TO catalog_service;
GRANT SELECT ON TABLE public.sql_function TO PUBLIC;
