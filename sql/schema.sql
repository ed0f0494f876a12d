-- The schema as the migrations leave it. Made by `make schema`; a test keeps it true.

CREATE TYPE dramatiq.state AS ENUM (
    'queued',
    'consumed',
    'rejected',
    'done'
);

CREATE TABLE public.background_jobs (
    id bigint NOT NULL,
    business_id bigint NOT NULL,
    job_type text NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    requested text,
    total bigint,
    processed bigint DEFAULT 0 NOT NULL,
    succeeded bigint DEFAULT 0 NOT NULL,
    failed_count bigint DEFAULT 0 NOT NULL,
    last_error text,
    cursor jsonb,
    params jsonb DEFAULT '{}'::jsonb NOT NULL,
    stats jsonb DEFAULT '{}'::jsonb NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    recoveries integer DEFAULT 0 NOT NULL,
    worker_id integer,
    queue text NOT NULL,
    actor text NOT NULL,
    message_id uuid,
    requested_by_user_id bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    heartbeat_at timestamp with time zone,
    resends integer DEFAULT 0 NOT NULL,
    resent_at timestamp with time zone,
    waiting_for text,
    refusals integer DEFAULT 0 NOT NULL,
    key text DEFAULT ''::text NOT NULL,
    wait_until timestamp with time zone,
    waits_since timestamp with time zone,
    stale_after interval,
    unchanged_after interval,
    error_code text,
    rate_from_at timestamp with time zone,
    rate_from bigint,
    rate_next_at timestamp with time zone,
    rate_next bigint,
    CONSTRAINT background_jobs_attempts_not_negative CHECK (((attempt >= 0) AND (recoveries >= 0))),
    CONSTRAINT background_jobs_counters_not_negative CHECK (((processed >= 0) AND (succeeded >= 0) AND (failed_count >= 0) AND (total >= 0))),
    CONSTRAINT background_jobs_finished_at_iff_finished CHECK (((status = ANY (ARRAY['completed'::text, 'cancelled'::text, 'failed'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT background_jobs_key_length CHECK ((char_length(key) <= 200)),
    CONSTRAINT background_jobs_processed_adds_up CHECK ((processed = (succeeded + failed_count))),
    CONSTRAINT background_jobs_requested_known CHECK ((requested = ANY (ARRAY['pause'::text, 'cancel'::text]))),
    CONSTRAINT background_jobs_requested_only_while_running CHECK (((requested IS NULL) OR (status = 'running'::text))),
    CONSTRAINT background_jobs_status_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text, 'completed'::text, 'cancelled'::text, 'failed'::text]))),
    CONSTRAINT background_jobs_waits_only_while_queued CHECK (((wait_until IS NULL) OR (status = 'queued'::text)))
)
WITH (fillfactor='70');
COMMENT ON TABLE public.background_jobs IS 'Pages have room (fillfactor), and a checkpoint writes no indexed column, so that it is a HOT update.';
COMMENT ON COLUMN public.background_jobs.id IS 'Of a job, in every address and command';
COMMENT ON COLUMN public.background_jobs.business_id IS 'Whose job it is';
COMMENT ON COLUMN public.background_jobs.job_type IS 'The kind: a file in actors/';
COMMENT ON COLUMN public.background_jobs.status IS 'queued, running, paused, completed, cancelled or failed: sql/states.py. Changed by functions only';
COMMENT ON COLUMN public.background_jobs.requested IS 'What somebody asked of a running job: pause or cancel, obeyed at the end of a batch';
COMMENT ON COLUMN public.background_jobs.total IS 'How many items there are to do; null while that is unknown';
COMMENT ON COLUMN public.background_jobs.processed IS 'Items that were done or refused';
COMMENT ON COLUMN public.background_jobs.succeeded IS 'Items that were done';
COMMENT ON COLUMN public.background_jobs.failed_count IS 'Items that were refused';
COMMENT ON COLUMN public.background_jobs.last_error IS 'Of a row, or of the end.';
COMMENT ON COLUMN public.background_jobs.cursor IS 'Where the job goes on, saved with each batch';
COMMENT ON COLUMN public.background_jobs.params IS 'What it was started with, as its kind declares';
COMMENT ON COLUMN public.background_jobs.stats IS 'What its kind counts beside the items';
COMMENT ON COLUMN public.background_jobs.attempt IS 'The number of the claim: the fencing token that every write of a worker carries.';
COMMENT ON COLUMN public.background_jobs.recoveries IS 'How many workers died with it in a row, without a batch between';
COMMENT ON COLUMN public.background_jobs.worker_id IS 'Who has it, while running';
COMMENT ON COLUMN public.background_jobs.queue IS 'Where its message waits';
COMMENT ON COLUMN public.background_jobs.actor IS 'The Dramatiq actor that its message calls';
COMMENT ON COLUMN public.background_jobs.message_id IS 'The message that will start it, or has';
COMMENT ON COLUMN public.background_jobs.requested_by_user_id IS 'Who started it';
COMMENT ON COLUMN public.background_jobs.created_at IS 'When it was started';
COMMENT ON COLUMN public.background_jobs.updated_at IS 'The last batch, change of status, or wait that said what it waits for';
COMMENT ON COLUMN public.background_jobs.started_at IS 'The first claim';
COMMENT ON COLUMN public.background_jobs.finished_at IS 'Set exactly for completed, cancelled and failed';
COMMENT ON COLUMN public.background_jobs.heartbeat_at IS 'The last sign of life of its run';
COMMENT ON COLUMN public.background_jobs.resends IS 'How often its message was sent again, since the last claim.';
COMMENT ON COLUMN public.background_jobs.resent_at IS 'When its message was sent again';
COMMENT ON COLUMN public.background_jobs.waiting_for IS 'What keeps a running job now.';
COMMENT ON COLUMN public.background_jobs.refusals IS 'Rows refused in a row, since the last success.';
COMMENT ON COLUMN public.background_jobs.key IS 'One job of a type may be active for each key of a business; empty: one in all';
COMMENT ON COLUMN public.background_jobs.wait_until IS 'A queued job goes on then, and not before unless it is resumed';
COMMENT ON COLUMN public.background_jobs.waits_since IS 'Since when it has only waited, without progress between';
COMMENT ON COLUMN public.background_jobs.stale_after IS 'Without a heartbeat for so long it fails; noted at the claim. Null: the general setting';
COMMENT ON COLUMN public.background_jobs.unchanged_after IS 'Without a change for so long it fails; noted at the claim. Null: the general setting';
COMMENT ON COLUMN public.background_jobs.error_code IS 'Why it failed, for programs; where its kind knows';
COMMENT ON COLUMN public.background_jobs.rate_from_at IS 'Since when its rate is measured: up to a minute ago, or the claim';
COMMENT ON COLUMN public.background_jobs.rate_from IS 'How many were processed then';
COMMENT ON COLUMN public.background_jobs.rate_next_at IS 'Since when it will be measured next';
COMMENT ON COLUMN public.background_jobs.rate_next IS 'How many were processed then';

CREATE TABLE dramatiq.queue (
    message_id uuid NOT NULL,
    queue_name text DEFAULT 'default'::text NOT NULL,
    state dramatiq.state,
    mtime timestamp with time zone DEFAULT (now() AT TIME ZONE 'UTC'::text),
    message jsonb,
    result jsonb,
    result_ttl timestamp with time zone,
    seq bigint NOT NULL,
    worker_id integer,
    delivery integer DEFAULT 0 NOT NULL,
    eta numeric GENERATED ALWAYS AS ((((message -> 'options'::text) ->> 'eta'::text))::numeric) STORED,
    losses integer DEFAULT 0 NOT NULL,
    reason text
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.02');
COMMENT ON TABLE dramatiq.queue IS 'dramatiq-pg''s table. Up to result_ttl the columns are as dramatiq-pg 0.12 makes them, so that its own processes can send; those after it are ours.';
COMMENT ON COLUMN dramatiq.queue.message_id IS 'Of Dramatiq''s message';
COMMENT ON COLUMN dramatiq.queue.queue_name IS 'Delayed messages wait under the name and .DQ';
COMMENT ON COLUMN dramatiq.queue.state IS 'queued: waits; consumed: a worker has it; done; rejected: reason says why';
COMMENT ON COLUMN dramatiq.queue.mtime IS 'The last change of state';
COMMENT ON COLUMN dramatiq.queue.message IS 'As Dramatiq writes it. That of a job carries only the id of the job';
COMMENT ON COLUMN dramatiq.queue.result IS 'Not used by us';
COMMENT ON COLUMN dramatiq.queue.result_ttl IS 'Not used by us';
COMMENT ON COLUMN dramatiq.queue.seq IS 'The order in which messages are claimed. mtime is hours off outside UTC.';
COMMENT ON COLUMN dramatiq.queue.worker_id IS 'Who has it, while consumed.';
COMMENT ON COLUMN dramatiq.queue.delivery IS 'Fences off an ack of an earlier delivery.';
COMMENT ON COLUMN dramatiq.queue.eta IS 'When a delayed message is due, in ms since 1970.';
COMMENT ON COLUMN dramatiq.queue.losses IS 'How many workers died with it, in a row.';
COMMENT ON COLUMN dramatiq.queue.reason IS 'Why it was rejected.';

ALTER TABLE dramatiq.queue ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.workers (
    id integer NOT NULL,
    hostname text NOT NULL,
    pid integer NOT NULL,
    queues text[] NOT NULL,
    release text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    stopped_at timestamp with time zone,
    kinds text[]
);
COMMENT ON TABLE public.workers IS 'One boot of one worker process. Which of them are alive: functions/workers/live_workers.sql.';
COMMENT ON COLUMN public.workers.id IS 'An integer: it is half of an advisory lock''s key.';
COMMENT ON COLUMN public.workers.hostname IS 'Where it runs';
COMMENT ON COLUMN public.workers.pid IS 'Its process there';
COMMENT ON COLUMN public.workers.queues IS 'What it really listens to';
COMMENT ON COLUMN public.workers.release IS 'As RELEASE says';
COMMENT ON COLUMN public.workers.started_at IS 'Its boot';
COMMENT ON COLUMN public.workers.stopped_at IS 'When it signed off; one that died never does';
COMMENT ON COLUMN public.workers.kinds IS 'The kinds of jobs that it knows; null if it does not say.';

CREATE TABLE public.job_events (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    event text NOT NULL,
    from_status text,
    to_status text NOT NULL,
    actor text NOT NULL,
    reason text,
    attempt integer NOT NULL,
    worker_id integer,
    detail jsonb
);
COMMENT ON TABLE public.job_events IS 'What happened to a job, written in the transaction in which it happened. Rows are never changed.';
COMMENT ON COLUMN public.job_events.id IS 'In the order of the events';
COMMENT ON COLUMN public.job_events.job_id IS 'The job it happened to';
COMMENT ON COLUMN public.job_events.at IS 'When';
COMMENT ON COLUMN public.job_events.event IS 'What: claimed, paused, recovered, row_failed, …';
COMMENT ON COLUMN public.job_events.from_status IS 'The status before; null for created';
COMMENT ON COLUMN public.job_events.to_status IS 'The status after';
COMMENT ON COLUMN public.job_events.actor IS 'user:7, worker:12, sweep, or whoever typed it in psql.';
COMMENT ON COLUMN public.job_events.reason IS 'Why, in the words of whoever did it';
COMMENT ON COLUMN public.job_events.attempt IS 'The number of the claim';
COMMENT ON COLUMN public.job_events.worker_id IS 'Who had the job';
COMMENT ON COLUMN public.job_events.detail IS 'Further facts; token_id is the API token that asked';

CREATE TABLE public.attachment_counts (
    job_id bigint NOT NULL,
    deleted bigint NOT NULL,
    kept bigint NOT NULL,
    failed bigint NOT NULL,
    pending bigint NOT NULL,
    error text
)
WITH (fillfactor='50');
COMMENT ON TABLE public.attachment_counts IS 'How many attachments a job has asked to be purged, by what became of them. Kept by triggers (functions/jobs/count_attachments.sql). No foreign key: a job that is cleared away leaves what it asked for.';
COMMENT ON COLUMN public.attachment_counts.job_id IS 'The job that asked for it';
COMMENT ON COLUMN public.attachment_counts.deleted IS 'Gone from the bucket';
COMMENT ON COLUMN public.attachment_counts.kept IS 'Deleted, but the store keeps earlier versions.';
COMMENT ON COLUMN public.attachment_counts.failed IS 'Failed so far: they are tried again.';
COMMENT ON COLUMN public.attachment_counts.pending IS 'Not tried yet, or without an error so far';
COMMENT ON COLUMN public.attachment_counts.error IS 'The last one, while some have failed or wait.';

CREATE TABLE public.attachments (
    id bigint NOT NULL,
    receipt_id bigint,
    business_id bigint NOT NULL,
    object_key text NOT NULL,
    content_type text NOT NULL,
    size bigint,
    purge_requested_at timestamp with time zone,
    purge_after timestamp with time zone,
    purge_attempts integer DEFAULT 0 NOT NULL,
    purge_job_id bigint,
    purged_at timestamp with time zone,
    purge_error text,
    sha256 bytea,
    CONSTRAINT attachments_purge_after_iff_requested CHECK (((purge_requested_at IS NULL) = (purge_after IS NULL))),
    CONSTRAINT attachments_purge_attempts_not_negative CHECK ((purge_attempts >= 0)),
    CONSTRAINT attachments_purged_only_on_request CHECK (((purged_at IS NULL) OR (purge_requested_at IS NOT NULL))),
    CONSTRAINT attachments_sha256_length CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT attachments_size_not_negative CHECK ((size >= 0))
);
COMMENT ON TABLE public.attachments IS 'A file of a receipt in the bucket, and the outbox of its deletion. If purge_requested_at is set and purged_at is null, the object has to go.';
COMMENT ON COLUMN public.attachments.id IS 'Part of the object''s key';
COMMENT ON COLUMN public.attachments.receipt_id IS 'Null: a file of a job, to be purged from the start';
COMMENT ON COLUMN public.attachments.business_id IS 'Whose file it is';
COMMENT ON COLUMN public.attachments.object_key IS 'Where it is in the bucket; never used for another';
COMMENT ON COLUMN public.attachments.content_type IS 'As its first bytes say';
COMMENT ON COLUMN public.attachments.size IS 'Null until the object is known to be in the bucket.';
COMMENT ON COLUMN public.attachments.purge_requested_at IS 'Since when the object has to go';
COMMENT ON COLUMN public.attachments.purge_after IS 'Whoever deletes the object first moves this into the future (a lease).';
COMMENT ON COLUMN public.attachments.purge_attempts IS 'How often that was tried';
COMMENT ON COLUMN public.attachments.purge_job_id IS 'No foreign key: a job that is cleared away leaves its number.';
COMMENT ON COLUMN public.attachments.purged_at IS 'When it was gone';
COMMENT ON COLUMN public.attachments.purge_error IS 'What the bucket said last';
COMMENT ON COLUMN public.attachments.sha256 IS 'Of the file that belongs here, also before it is uploaded.';

CREATE TABLE public.api_tokens (
    token_sha256 bytea NOT NULL,
    business_id bigint,
    user_id bigint,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    id bigint NOT NULL,
    name text,
    expires_at timestamp with time zone,
    issued_by text,
    CONSTRAINT api_tokens_operator_has_no_business CHECK (((role = 'operator'::text) = (business_id IS NULL))),
    CONSTRAINT api_tokens_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'admin'::text, 'member'::text, 'operator'::text]))),
    CONSTRAINT api_tokens_sha256_length CHECK ((octet_length(token_sha256) = 32))
);
COMMENT ON TABLE public.api_tokens IS 'Who may call the API. Of a token only the hash is kept; python -m service token makes one';
COMMENT ON COLUMN public.api_tokens.token_sha256 IS 'All that is kept of the token itself';
COMMENT ON COLUMN public.api_tokens.business_id IS 'Null: an operator''s, for all businesses';
COMMENT ON COLUMN public.api_tokens.user_id IS 'Who is named in the events';
COMMENT ON COLUMN public.api_tokens.role IS 'owner, admin, member or operator';
COMMENT ON COLUMN public.api_tokens.created_at IS 'When it was made';
COMMENT ON COLUMN public.api_tokens.last_used_at IS 'To the minute';
COMMENT ON COLUMN public.api_tokens.revoked_at IS 'From then on it is refused';
COMMENT ON COLUMN public.api_tokens.id IS 'As in the token itself, lh_<id>_…';
COMMENT ON COLUMN public.api_tokens.name IS 'What it is for';
COMMENT ON COLUMN public.api_tokens.expires_at IS 'From then on it is refused; null: never';
COMMENT ON COLUMN public.api_tokens.issued_by IS 'Who made it, at which machine';

ALTER TABLE public.api_tokens ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

ALTER TABLE public.attachments ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

ALTER TABLE public.background_jobs ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.businesses (
    id bigint NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE public.businesses IS 'Whose receipts these are; every job belongs to one';
COMMENT ON COLUMN public.businesses.id IS 'Of a business';
COMMENT ON COLUMN public.businesses.name IS 'As it is called';
COMMENT ON COLUMN public.businesses.created_at IS 'When it was made';

ALTER TABLE public.businesses ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.connection_events (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    business_id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    reason text
);
COMMENT ON TABLE public.connection_events IS 'Who connected, tested or deleted what, and when a provider refused it.';
COMMENT ON COLUMN public.connection_events.id IS 'In order.';
COMMENT ON COLUMN public.connection_events.connection_id IS 'Of which connection.';
COMMENT ON COLUMN public.connection_events.business_id IS 'Whose it is.';
COMMENT ON COLUMN public.connection_events.at IS 'When.';
COMMENT ON COLUMN public.connection_events.event IS 'connected, tested, refused, deleted.';
COMMENT ON COLUMN public.connection_events.actor IS 'user:7, or the job that was refused.';
COMMENT ON COLUMN public.connection_events.reason IS 'What the provider said.';

ALTER TABLE public.connection_events ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.connections (
    id bigint NOT NULL,
    business_id bigint NOT NULL,
    provider text NOT NULL,
    account text NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    secret bytea,
    status text DEFAULT 'connected'::text NOT NULL,
    last_error text,
    uidvalidity bigint,
    last_uid bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT connections_position_whole CHECK (((uidvalidity IS NULL) = (last_uid IS NULL))),
    CONSTRAINT connections_secret_until_deleted CHECK (((secret IS NULL) = (status = 'deleted'::text))),
    CONSTRAINT connections_status_known CHECK ((status = ANY (ARRAY['connected'::text, 'needs_reconnect'::text, 'deleted'::text])))
);
COMMENT ON TABLE public.connections IS 'A business''s accounts outside. One that was deleted keeps its row, without its secret: its mails name it.';
COMMENT ON COLUMN public.connections.id IS 'Its number, which is also the key of its syncs.';
COMMENT ON COLUMN public.connections.business_id IS 'Whose it is.';
COMMENT ON COLUMN public.connections.provider IS 'imap.';
COMMENT ON COLUMN public.connections.account IS 'The user''s name there.';
COMMENT ON COLUMN public.connections.settings IS 'Host, port, TLS, folder; currency, timezone and order of days of what comes from there.';
COMMENT ON COLUMN public.connections.secret IS 'Encrypted with a key of CONNECTION_KEYS; null once it is deleted.';
COMMENT ON COLUMN public.connections.status IS 'needs_reconnect: the provider refused the secret, and jobs fail at once.';
COMMENT ON COLUMN public.connections.last_error IS 'What the provider said when it refused us.';
COMMENT ON COLUMN public.connections.uidvalidity IS 'Under which the folder''s numbers hold.';
COMMENT ON COLUMN public.connections.last_uid IS 'The highest UID that was listed under uidvalidity: an incremental sync begins above it.';
COMMENT ON COLUMN public.connections.created_at IS 'When it was connected.';
COMMENT ON COLUMN public.connections.updated_at IS 'When its status changed last.';

ALTER TABLE public.connections ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.idempotency_keys (
    business_id bigint NOT NULL,
    token_id bigint NOT NULL,
    address text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    answer jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE public.idempotency_keys IS 'Starts that took place, with their answers, for a day';
COMMENT ON COLUMN public.idempotency_keys.business_id IS 'Whose start it was';
COMMENT ON COLUMN public.idempotency_keys.token_id IS 'The token that started';
COMMENT ON COLUMN public.idempotency_keys.address IS 'The address that was called';
COMMENT ON COLUMN public.idempotency_keys.key IS 'As the caller chose it';
COMMENT ON COLUMN public.idempotency_keys.request_sha256 IS 'Another request with this key is refused';
COMMENT ON COLUMN public.idempotency_keys.answer IS 'What is answered again';
COMMENT ON COLUMN public.idempotency_keys.created_at IS 'Cleared away after a day';

ALTER TABLE public.job_events ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.longhaul_version (
    version_num character varying(32) NOT NULL
);
COMMENT ON TABLE public.longhaul_version IS 'The last migration';
COMMENT ON COLUMN public.longhaul_version.version_num IS 'The last migration';

CREATE TABLE public.mail_messages (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    business_id bigint NOT NULL,
    uidvalidity bigint NOT NULL,
    uid bigint NOT NULL,
    message_hash bytea NOT NULL,
    received_at timestamp with time zone NOT NULL,
    size bigint NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    reason text,
    rule text,
    receipt_id bigint,
    job_id bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    decided_at timestamp with time zone,
    printed_day date,
    printed_number text,
    fetch_failures smallint DEFAULT 0 NOT NULL,
    CONSTRAINT mail_messages_decided_iff_not_pending CHECK (((state = 'pending'::text) = (decided_at IS NULL))),
    CONSTRAINT mail_messages_hash_length CHECK ((octet_length(message_hash) = 32)),
    CONSTRAINT mail_messages_reason_unless_pending CHECK (((state = 'pending'::text) OR (reason IS NOT NULL))),
    CONSTRAINT mail_messages_receipt_has_one CHECK (((state <> 'receipt'::text) OR (receipt_id IS NOT NULL))),
    CONSTRAINT mail_messages_state_known CHECK ((state = ANY (ARRAY['pending'::text, 'receipt'::text, 'not_receipt'::text, 'duplicate'::text, 'unreadable'::text])))
);
COMMENT ON TABLE public.mail_messages IS 'Each mail that was seen, and what it was found to be. Nothing of what a mail says is kept here, but of receipts their day and number: most mails are private.';
COMMENT ON COLUMN public.mail_messages.id IS 'The order in which a sync reads.';
COMMENT ON COLUMN public.mail_messages.connection_id IS 'Where it was seen.';
COMMENT ON COLUMN public.mail_messages.business_id IS 'Whose it is.';
COMMENT ON COLUMN public.mail_messages.uidvalidity IS 'A uid means a mail only together with this.';
COMMENT ON COLUMN public.mail_messages.uid IS 'Its number in the folder.';
COMMENT ON COLUMN public.mail_messages.message_hash IS 'Of its Message-ID and size: finds the mail again when the server has numbered the folder anew.';
COMMENT ON COLUMN public.mail_messages.received_at IS 'When the server got it (INTERNALDATE).';
COMMENT ON COLUMN public.mail_messages.size IS 'In bytes, as the server says.';
COMMENT ON COLUMN public.mail_messages.state IS 'pending until it is decided; then receipt, not_receipt, duplicate or unreadable.';
COMMENT ON COLUMN public.mail_messages.reason IS 'Why it is what it is, as a code.';
COMMENT ON COLUMN public.mail_messages.rule IS 'The rule that decided.';
COMMENT ON COLUMN public.mail_messages.receipt_id IS 'The receipt that was made of it, or that it is a duplicate of.';
COMMENT ON COLUMN public.mail_messages.job_id IS 'The last job that was to read it. No foreign key: jobs are cleared away.';
COMMENT ON COLUMN public.mail_messages.created_at IS 'When it was first listed.';
COMMENT ON COLUMN public.mail_messages.decided_at IS 'When it was decided.';
COMMENT ON COLUMN public.mail_messages.printed_day IS 'Of a receipt: the day that it prints. Null where only its mail has one.';
COMMENT ON COLUMN public.mail_messages.printed_number IS 'Of a receipt: the number of the invoice or order, where it prints one.';
COMMENT ON COLUMN public.mail_messages.fetch_failures IS 'How often the connection broke, or the server refused, while it was fetched. Above 0 it is fetched alone.';

ALTER TABLE public.mail_messages ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.receipts (
    id bigint NOT NULL,
    business_id bigint NOT NULL,
    vendor text NOT NULL,
    amount numeric(14,2) NOT NULL,
    currency text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    source text DEFAULT 'manual'::text NOT NULL,
    source_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    is_deleted boolean DEFAULT false NOT NULL,
    deleted_at timestamp with time zone,
    deleted_by_job_id bigint,
    CONSTRAINT receipts_currency_iso CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT receipts_deleted_at_iff_deleted CHECK ((is_deleted = (deleted_at IS NOT NULL)))
);
COMMENT ON TABLE public.receipts IS 'Deletion is soft: is_deleted and deleted_at';
COMMENT ON COLUMN public.receipts.id IS 'The keyset of every job';
COMMENT ON COLUMN public.receipts.business_id IS 'Whose receipt it is';
COMMENT ON COLUMN public.receipts.vendor IS 'Who was paid';
COMMENT ON COLUMN public.receipts.amount IS 'In the currency''s units';
COMMENT ON COLUMN public.receipts.currency IS 'ISO 4217';
COMMENT ON COLUMN public.receipts.received_at IS 'The day of the receipt';
COMMENT ON COLUMN public.receipts.source IS 'manual, import or a kind of sync';
COMMENT ON COLUMN public.receipts.source_id IS 'Its id there: it is taken in once';
COMMENT ON COLUMN public.receipts.created_at IS 'When it came here';
COMMENT ON COLUMN public.receipts.is_deleted IS 'Deletion is soft';
COMMENT ON COLUMN public.receipts.deleted_at IS 'Set exactly when it is deleted';
COMMENT ON COLUMN public.receipts.deleted_by_job_id IS 'The job that restore_receipts can undo';

ALTER TABLE public.receipts ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.sessions (
    id bigint NOT NULL,
    session_sha256 bytea NOT NULL,
    token_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_expire_later CHECK ((expires_at > created_at)),
    CONSTRAINT sessions_sha256_length CHECK ((octet_length(session_sha256) = 32))
);
COMMENT ON TABLE public.sessions IS 'Who is signed in to the page, with which token. A session ends with its token, too. No foreign key: see the migration.';
COMMENT ON COLUMN public.sessions.id IS 'In the order of their beginning';
COMMENT ON COLUMN public.sessions.session_sha256 IS 'All that is kept of what the cookie says';
COMMENT ON COLUMN public.sessions.token_id IS 'The token that was typed in; its business, user and role are the session''s';
COMMENT ON COLUMN public.sessions.created_at IS 'When somebody signed in';
COMMENT ON COLUMN public.sessions.expires_at IS 'From then on it is refused, however much it is used';

ALTER TABLE public.sessions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

CREATE TABLE public.token_changes (
    token_id bigint NOT NULL,
    allowance double precision NOT NULL,
    at timestamp with time zone NOT NULL
);
COMMENT ON TABLE public.token_changes IS 'How many changes a token may still make, at a moment. No foreign key: see service/rate_limits.py.';
COMMENT ON COLUMN public.token_changes.token_id IS 'Whose changes';
COMMENT ON COLUMN public.token_changes.allowance IS 'How many are left';
COMMENT ON COLUMN public.token_changes.at IS 'The moment of that count';

CREATE TABLE public.watched_clock (
    one boolean DEFAULT true NOT NULL,
    seen_at timestamp with time zone,
    gap_from timestamp with time zone,
    gap_to timestamp with time zone,
    swept_at timestamp with time zone,
    CONSTRAINT watched_clock_one_row CHECK (one)
)
WITH (fillfactor='20');
COMMENT ON TABLE public.watched_clock IS 'When somebody last looked at the server''s clock, and the last gap: functions/workers/silence.sql.';
COMMENT ON COLUMN public.watched_clock.one IS 'There is one row';
COMMENT ON COLUMN public.watched_clock.seen_at IS 'The last look at the clock';
COMMENT ON COLUMN public.watched_clock.gap_from IS 'The last gap between two looks: its beginning';
COMMENT ON COLUMN public.watched_clock.gap_to IS '… and its end';
COMMENT ON COLUMN public.watched_clock.swept_at IS 'The end of the last sweep, by whichever worker';

ALTER TABLE public.workers ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;

ALTER TABLE ONLY dramatiq.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (message_id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (token_sha256);

ALTER TABLE ONLY public.attachment_counts
    ADD CONSTRAINT attachment_counts_pkey PRIMARY KEY (job_id);

ALTER TABLE public.attachments
    ADD CONSTRAINT attachments_object_key_form CHECK (((purge_requested_at IS NOT NULL) OR (((octet_length(object_key) >= 1) AND (octet_length(object_key) <= 1024)) AND (object_key !~ '[[:cntrl:]]|^/|//|\.\.'::text)))) NOT VALID;
COMMENT ON CONSTRAINT attachments_object_key_form ON public.attachments IS 'Not for attachments that are to be purged, which may be older than this rule: their updates must not fail.';

ALTER TABLE public.attachments
    ADD CONSTRAINT attachments_of_a_receipt_or_to_be_purged CHECK (((receipt_id IS NOT NULL) OR (purge_requested_at IS NOT NULL))) NOT VALID;

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.background_jobs
    ADD CONSTRAINT background_jobs_pkey PRIMARY KEY (id);

ALTER TABLE public.background_jobs
    ADD CONSTRAINT background_jobs_refusals_not_negative CHECK ((refusals >= 0)) NOT VALID;

ALTER TABLE ONLY public.businesses
    ADD CONSTRAINT businesses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.connection_events
    ADD CONSTRAINT connection_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.connections
    ADD CONSTRAINT connections_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (business_id, token_id, address, key);

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT job_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.longhaul_version
    ADD CONSTRAINT longhaul_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.mail_messages
    ADD CONSTRAINT mail_messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.receipts
    ADD CONSTRAINT receipts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.token_changes
    ADD CONSTRAINT token_changes_pkey PRIMARY KEY (token_id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT uq_api_tokens_id UNIQUE (id);

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT uq_attachments_object_key UNIQUE (object_key);

ALTER TABLE ONLY public.mail_messages
    ADD CONSTRAINT uq_mail_messages_uid UNIQUE (connection_id, uidvalidity, uid);

ALTER TABLE ONLY public.receipts
    ADD CONSTRAINT uq_receipts_business_source UNIQUE (business_id, source, source_id);
COMMENT ON CONSTRAINT uq_receipts_business_source ON public.receipts IS 'An import or a sync never brings back a deleted receipt: its line meets this and is passed over.';

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT uq_sessions_sha256 UNIQUE (session_sha256);

ALTER TABLE ONLY public.watched_clock
    ADD CONSTRAINT watched_clock_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX queue_claimed_idx ON dramatiq.queue USING btree (worker_id) WHERE (state = 'consumed'::dramatiq.state);
COMMENT ON INDEX dramatiq.queue_claimed_idx IS 'What does this worker hold?';

CREATE INDEX queue_delayed_idx ON dramatiq.queue USING btree (eta) WHERE ((state = 'queued'::dramatiq.state) AND (eta IS NOT NULL));
COMMENT ON INDEX dramatiq.queue_delayed_idx IS 'Which delayed messages are due?';

CREATE INDEX queue_ended_idx ON dramatiq.queue USING btree (mtime) WHERE (state = ANY (ARRAY['done'::dramatiq.state, 'rejected'::dramatiq.state]));
COMMENT ON INDEX dramatiq.queue_ended_idx IS 'Which messages ended long ago? (retention)';

CREATE INDEX queue_lost_idx ON dramatiq.queue USING btree (seq) WHERE ((state = 'queued'::dramatiq.state) AND (losses > 0));
COMMENT ON INDEX dramatiq.queue_lost_idx IS 'Which messages were lost with a worker?';

CREATE INDEX queue_waiting_idx ON dramatiq.queue USING btree (queue_name, seq) WHERE (state = 'queued'::dramatiq.state);
COMMENT ON INDEX dramatiq.queue_waiting_idx IS 'Which messages of a queue are next?';

CREATE INDEX idx_attachments_purge_due ON public.attachments USING btree (purge_after) WHERE ((purge_requested_at IS NOT NULL) AND (purged_at IS NULL));
COMMENT ON INDEX public.idx_attachments_purge_due IS 'Which objects are due to be deleted?';

CREATE INDEX idx_attachments_receipt ON public.attachments USING btree (receipt_id);
COMMENT ON INDEX public.idx_attachments_receipt IS 'Which files belong to these receipts?';

CREATE INDEX idx_attachments_same_file ON public.attachments USING btree (business_id, sha256) WHERE (sha256 IS NOT NULL);
COMMENT ON INDEX public.idx_attachments_same_file IS 'Is this file in the business already?';

CREATE INDEX idx_background_jobs_business_type_status ON public.background_jobs USING btree (business_id, job_type, status);
COMMENT ON INDEX public.idx_background_jobs_business_type_status IS 'Has this business a job of this type in this state?';

CREATE INDEX idx_background_jobs_created_at ON public.background_jobs USING btree (created_at);
COMMENT ON INDEX public.idx_background_jobs_created_at IS 'Which jobs are old enough to clear away? Which came last?';

CREATE INDEX idx_background_jobs_sweep ON public.background_jobs USING btree (status, worker_id) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text]));
COMMENT ON INDEX public.idx_background_jobs_sweep IS 'Which jobs wait, and which run with which worker? (the sweep)';

CREATE UNIQUE INDEX idx_background_jobs_unique_active ON public.background_jobs USING btree (business_id, job_type, key) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text, 'paused'::text]));
COMMENT ON INDEX public.idx_background_jobs_unique_active IS 'One active job per business, type and key: the second of two starts at once meets this.';

CREATE INDEX idx_connection_events_connection ON public.connection_events USING btree (connection_id, id);
COMMENT ON INDEX public.idx_connection_events_connection IS 'What happened to this connection, in order?';

CREATE INDEX idx_connections_business ON public.connections USING btree (business_id, id) WHERE (status <> 'deleted'::text);
COMMENT ON INDEX public.idx_connections_business IS 'Which connections has this business?';

CREATE INDEX idx_idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);
COMMENT ON INDEX public.idx_idempotency_keys_created_at IS 'Which are older than a day?';

CREATE INDEX idx_job_events_job ON public.job_events USING btree (job_id, id);
COMMENT ON INDEX public.idx_job_events_job IS 'What happened to this job, in order?';

CREATE INDEX idx_mail_messages_hash ON public.mail_messages USING btree (connection_id, message_hash);
COMMENT ON INDEX public.idx_mail_messages_hash IS 'Is this mail known under another number?';

CREATE INDEX idx_mail_messages_pending ON public.mail_messages USING btree (connection_id, id) WHERE (state = 'pending'::text);
COMMENT ON INDEX public.idx_mail_messages_pending IS 'Which mails are still to be read?';

CREATE INDEX idx_mail_messages_receipt ON public.mail_messages USING btree (receipt_id) WHERE (receipt_id IS NOT NULL);
COMMENT ON INDEX public.idx_mail_messages_receipt IS 'From which mail is this receipt?';

CREATE INDEX idx_mail_messages_state ON public.mail_messages USING btree (business_id, state, id);
COMMENT ON INDEX public.idx_mail_messages_state IS 'Why is my receipt not here?';

CREATE INDEX idx_receipts_deleted_by_job ON public.receipts USING btree (deleted_by_job_id, id) WHERE (is_deleted AND (deleted_by_job_id IS NOT NULL));
COMMENT ON INDEX public.idx_receipts_deleted_by_job IS 'Which receipts has this job deleted?';

CREATE INDEX idx_receipts_live ON public.receipts USING btree (business_id, id) WHERE (NOT is_deleted);
COMMENT ON INDEX public.idx_receipts_live IS 'Which receipts of this business come next? (the keyset of every job)';

CREATE INDEX idx_receipts_received ON public.receipts USING btree (business_id, received_at, id) WHERE (NOT is_deleted);
COMMENT ON INDEX public.idx_receipts_received IS 'Which are the newest of this business, or those of some days? (the list)';

CREATE INDEX idx_sessions_expires ON public.sessions USING btree (expires_at);
COMMENT ON INDEX public.idx_sessions_expires IS 'Which sessions are over?';

CREATE INDEX idx_sessions_token ON public.sessions USING btree (token_id);
COMMENT ON INDEX public.idx_sessions_token IS 'Which sessions end with this token, or with its user''s?';

CREATE TRIGGER count_attachment_in AFTER INSERT ON public.attachments FOR EACH ROW WHEN ((new.purge_job_id IS NOT NULL)) EXECUTE FUNCTION public.count_attachment();

CREATE TRIGGER count_attachment_out AFTER DELETE ON public.attachments FOR EACH ROW WHEN ((old.purge_job_id IS NOT NULL)) EXECUTE FUNCTION public.count_attachment();

CREATE TRIGGER count_attachments AFTER UPDATE ON public.attachments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.count_attachments();

CREATE TRIGGER guard_delete BEFORE DELETE ON public.background_jobs FOR EACH ROW EXECUTE FUNCTION public.guard_job();

CREATE TRIGGER guard_status BEFORE UPDATE OF status ON public.background_jobs FOR EACH ROW WHEN ((old.status IS DISTINCT FROM new.status)) EXECUTE FUNCTION public.guard_job();

CREATE TRIGGER keep_event BEFORE DELETE OR UPDATE ON public.job_events FOR EACH ROW EXECUTE FUNCTION public.keep_event();

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_receipt_id_fkey FOREIGN KEY (receipt_id) REFERENCES public.receipts(id);

ALTER TABLE ONLY public.background_jobs
    ADD CONSTRAINT background_jobs_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.connection_events
    ADD CONSTRAINT connection_events_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.connection_events
    ADD CONSTRAINT connection_events_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id);

ALTER TABLE ONLY public.connections
    ADD CONSTRAINT connections_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT job_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.background_jobs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.mail_messages
    ADD CONSTRAINT mail_messages_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);

ALTER TABLE ONLY public.mail_messages
    ADD CONSTRAINT mail_messages_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id);

ALTER TABLE ONLY public.mail_messages
    ADD CONSTRAINT mail_messages_receipt_id_fkey FOREIGN KEY (receipt_id) REFERENCES public.receipts(id);

ALTER TABLE ONLY public.receipts
    ADD CONSTRAINT receipts_business_id_fkey FOREIGN KEY (business_id) REFERENCES public.businesses(id);
