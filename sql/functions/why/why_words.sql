-- The words of why_jobs.sql: what a reason means for this job, and what to do about it.
CREATE OR REPLACE FUNCTION public.why_sentence(job public.background_jobs, reason text, evidence jsonb) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE reason
    WHEN 'no_worker' THEN format('No live worker listens to the queue %s', job.queue) || CASE
        WHEN evidence -> 'queues_taken' = '[]' THEN ': none is alive'
        ELSE ': those that live listen to ' || (SELECT string_agg(q, ', ') FROM jsonb_array_elements_text(evidence -> 'queues_taken') q) END
    WHEN 'unknown_kind' THEN format('No live worker knows the kind %s', job.job_type)
    WHEN 'snoozed' THEN format('It waits until %s: %s',
        to_char(job.wait_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), coalesce(job.waiting_for, 'no reason is known'))
    WHEN 'no_message' THEN CASE
        WHEN evidence ? 'taken_by_a_stranger_at' THEN
            'A consumer that is none of ours has taken its message; stock dramatiq-pg must not run beside our workers'
        ELSE 'No message would wake it; a live worker sends one within a second or two'
            || CASE WHEN job.resends > 1 THEN format(', later after %s of them got lost', job.resends) ELSE '' END END
    WHEN 'waiting_turn' THEN CASE
        WHEN evidence ? 'worker' THEN format('Worker %s has its message and is about to begin', evidence ->> 'worker')
        ELSE format('It waits its turn in %s: %s%s messages are ahead of it, %s jobs are running there', job.queue,
            CASE WHEN (evidence ->> 'ahead_is_more')::boolean THEN 'more than ' ELSE '' END,
            coalesce(evidence ->> 'ahead', 'some'), coalesce(evidence ->> 'jobs_running', 'some')) END
    WHEN 'paused' THEN format('%s paused it%s', coalesce(evidence ->> 'paused_by', 'Somebody'),
        coalesce(': ' || (evidence ->> 'why'), ''))
    WHEN 'read_only' THEN format('Nothing can be written: %s', evidence ->> 'because')
    WHEN 'silent_worker' THEN format('Worker %s %s', evidence ->> 'worker', CASE
        WHEN evidence ? 'silent_seconds' THEN format('has said nothing for %s s; after 15 s it counts as dead', evidence ->> 'silent_seconds')
        ELSE 'is dead' END)
        || CASE WHEN (evidence ->> 'workers_listening')::integer = 0
                THEN format(', and no other listens to %s', job.queue) ELSE ', and the others take over what it held' END
    WHEN 'blocked' THEN CASE WHEN evidence #>> '{blocker,pid}' = '0'
        THEN 'It waits for a lock that a prepared transaction holds'
        ELSE format('It waits for a lock that the session with the pid %s holds%s', evidence #>> '{blocker,pid}',
            coalesce(', whose transaction is ' || (evidence #>> '{blocker,seconds}') || ' s old', '')) END
    WHEN 'stopping' THEN format('%s asked for a %s: it stops at the end of the batch in hand',
        coalesce(evidence ->> 'by', 'Somebody'), job.requested)
    WHEN 'backing_off' THEN format('It waits to try again: %s', job.waiting_for)
    WHEN 'not_moving' THEN CASE
        WHEN job.refusals >= 10 THEN format('Its last %s items were refused, one after the other: %s', job.refusals, job.last_error)
        WHEN job.status = 'queued'
            THEN format('Worker %s has its message and has not begun within 10 s: it fails to claim the job', evidence ->> 'worker')
        WHEN evidence ? 'backend_pid' THEN 'Its worker lives, but the batch in hand takes long'
        ELSE 'It has no transaction open, and ended no batch for a while: its run stands, or a hand has changed its row' END
    WHEN 'bucket_refuses' THEN format('The bucket refuses to delete %s of its files: %s',
        evidence ->> 'attachments_failed', coalesce(evidence ->> 'attachments_error', 'no reason is known'))
        || CASE WHEN job.status = 'running' THEN '. The job itself is moving' ELSE '. The job itself has ended' END
    WHEN 'running' THEN 'It is moving'
    WHEN 'listing' THEN format('It is moving: it lists what there is to read, %s so far; how many there are is known afterwards',
        coalesce(evidence ->> 'messages_listed', '0'))
    WHEN 'needs_reconnect' THEN format('It failed, because the connection has to be made anew: %s', coalesce(job.last_error, ''))
    WHEN 'failed' THEN format('It failed: %s', coalesce(job.last_error, 'for no known reason'))
    WHEN 'completed_with_failures' THEN format('It is completed, but %s items were refused; the last: %s', job.failed_count,
        coalesce(job.last_error, 'for no known reason'))
    ELSE format('It has ended: %s%s', job.status,
        CASE WHEN job.status = 'cancelled' THEN coalesce(' by ' || (evidence ->> 'by'), '') ELSE '' END) END
$$;

-- The command or the call that fixes it.
CREATE OR REPLACE FUNCTION public.why_remedy(job public.background_jobs, reason text, evidence jsonb) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE reason
    WHEN 'no_worker' THEN worker
    WHEN 'unknown_kind' THEN format('Start a worker of a release that knows %s; or %s', job.job_type, cancel)
    WHEN 'snoozed' THEN 'It goes on by itself; to go on at once'
        || CASE WHEN test IS NULL THEN ': ' ELSE ', though the server may then want more time: ' END || resume
    WHEN 'no_message' THEN CASE WHEN evidence ? 'taken_by_a_stranger_at'
        THEN format('Stop that consumer; then %s and %s send a new message', pause, resume)
        ELSE 'It is sent one by itself; at once: ' || pause || ', then ' || resume END
    WHEN 'waiting_turn' THEN CASE WHEN evidence ? 'worker' THEN 'None is needed'
        ELSE 'It goes on by itself; more workers or WORKER_THREADS shorten the wait' END
    WHEN 'paused' THEN upper(left(resume, 1)) || substr(resume, 2)
    WHEN 'read_only' THEN evidence ->> 'fix'
    WHEN 'silent_worker' THEN CASE WHEN (evidence ->> 'workers_listening')::integer
            - (coalesce((evidence ->> 'silent_seconds')::integer, 15) < 15)::integer <= 0
        THEN worker ELSE 'It goes on by itself, at another worker, within 20 s' END
        || coalesce('. It is' || process, '')
    WHEN 'blocked' THEN CASE WHEN evidence #>> '{blocker,pid}' = '0'
        THEN 'COMMIT PREPARED or ROLLBACK PREPARED: see pg_prepared_xacts'
        ELSE format('End that transaction there, or: SELECT pg_terminate_backend(%s)', evidence #>> '{blocker,pid}') END
    WHEN 'stopping' THEN CASE WHEN job.requested = 'pause' THEN 'To withdraw it: ' || resume ELSE 'None is needed' END
    WHEN 'backing_off' THEN CASE WHEN job.waiting_for LIKE '%mail server%' AND test IS NOT NULL
        THEN 'It goes on by itself; what the server says to a log-in now: ' || test
        ELSE 'Fix what it waits for; it goes on by itself' END
    WHEN 'not_moving' THEN CASE WHEN job.refusals >= 10
        THEN 'Fix what refuses its items (a trigger, a constraint); to stop it meanwhile: ' || pause
        WHEN job.status = 'queued'
        THEN format('See backoff for job %s in the log of worker %s%s, and fix what it names (a full disk, a trigger on '
                    'job_events); it goes on by itself',
                    job.id, evidence ->> 'worker', ',' || process)
        ELSE format('To take the job from its worker: SELECT ops.reset_job(%s, ''your name'', ''why''); then ', job.id)
            || resume END
    WHEN 'bucket_refuses' THEN 'Fix the keys, the rights or the region (AWS_…, S3_…) and restart the workers; then '
        'SELECT ops.retry_purge(''your name'', ''why'') tries all at once'
    WHEN 'needs_reconnect' THEN coalesce('Let the account accept the password again, and ' || test
            || ' says so; then ' || resume || '. With another password: DELETE and POST /api/connections, and a new sync',
        'Connect the account anew; then ' || resume)
    WHEN 'failed' THEN CASE WHEN job.last_error LIKE '%mail server%' AND test IS NOT NULL
        THEN test || ' says whether the server answers; then ' ELSE 'Fix that; then ' END || resume
    WHEN 'completed_with_failures' THEN format('See the events row_failed: GET /api/jobs/%s/events. Fix them; then the call '
        'in links.retry of GET /api/jobs/%s starts a new job for the rest', job.id, job.id)
    ELSE 'None is needed' END
    FROM (SELECT format('POST /api/jobs/%s/resume, or SELECT ops.resume_job(%s, ''your name'')', job.id, job.id) AS resume,
                 format('POST /api/jobs/%s/pause, or SELECT ops.pause_job(%s, ''your name'')', job.id, job.id) AS pause,
                 format('POST /api/jobs/%s/cancel, or SELECT ops.cancel_job(%s, ''your name'')', job.id, job.id) AS cancel,
                 'POST /api/connections/' || (evidence #>> '{connection,id}') || '/test' AS test,
                 format('Start a worker that listens to %s (WORKER_QUEUES names it, or is not set)', job.queue) AS worker,
                 ' the process ' || (evidence ->> 'process') || ' on ' || (evidence ->> 'host') AS process
    ) AS words
$$;
