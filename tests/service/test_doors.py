"""What stands in the database beside ours is not taken for ours."""


def test_a_foreign_function_of_the_same_name_is_not_called_in_the_place_of_ours(api, make, sql, job_row) -> None:
    for verb in ("pause", "resume", "cancel"):
        sql(f"""CREATE FUNCTION public.{verb}_job(integer, text) RETURNS background_jobs LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'mine'; END $$""")
    business_id = make.business()
    job_id = make.job(business_id)
    owner = api(business_id)
    for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert owner.post(f"/api/jobs/{job_id}/{verb}").status_code == 200
        assert job_row(job_id)["status"] == status


def test_tables_of_a_users_own_schema_are_not_taken_for_ours(api, make, sql) -> None:
    business_id = make.business()
    make.receipts(business_id, 2)
    (row,) = sql("SELECT current_user AS name")
    sql(f'CREATE SCHEMA "{row["name"]}"')
    sql(f'CREATE TABLE "{row["name"]}".receipts (LIKE public.receipts)')
    assert len(api(business_id).get("/api/receipts").json["receipts"]) == 2
