-- What `connection verify` finds out about a key, and which attention that ends.

-- Does this key belong to the account of the connection? fits; another_key: it has got
-- another key meanwhile; another_account: it needs attention now. null: there is no such
-- connection. p_account_id null: not known.
create function klaviyo.check_account(p_name text, p_sealed_key bytea, p_account_id text)
returns text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.connection;
begin
    select * into v from klaviyo.connection where name = p_name for no key update;
    if not found then
        return null;
    elsif not exists (select from klaviyo.connection_key k
                      where k.connection_id = v.connection_id and k.sealed_key = p_sealed_key) then
        return 'another_key';
    elsif v.account_id <> p_account_id then
        perform klaviyo.mark_attention(v.connection_id, format(
            'its key belongs to Klaviyo account %s, the connection to %s', p_account_id,
            v.account_id));
        return 'another_account';
    end if;
    return 'fits';
end
$$;

-- The same, and of a key that fits the rest is stored. older_pair: stored, and the attention
-- stays, for the key is sealed for a pair that has been replaced.
create function klaviyo.note_findings(p_name text, p_sealed_key bytea, p_account_id text,
                                      p_account_name text, p_scopes text[]) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_said text := klaviyo.check_account(p_name, p_sealed_key, p_account_id);
    v_older boolean;
begin
    if v_said is distinct from 'fits' then
        return v_said;
    end if;
    select k.key_pair_id < (select max(p.key_pair_id) from klaviyo.key_pair p) into v_older
    from klaviyo.connection_key k join klaviyo.connection c using (connection_id)
    where c.name = p_name;
    update klaviyo.connection
    set account_id = coalesce(p_account_id, account_id),
        account_name = coalesce(p_account_name, account_name), scopes = p_scopes,
        verified_at = clock_timestamp(),
        attention_reason = case when v_older then attention_reason end,
        attention_at = case when v_older then attention_at end
    where name = p_name;
    return case when v_older then 'older_pair' else 'fits' end;
end
$$;

-- For workers of the version before.
create or replace function klaviyo.note_verified(p_name text, p_sealed_key bytea,
                                                 p_account_id text, p_account_name text,
                                                 p_scopes text[]) returns boolean
language sql set search_path = pg_catalog, pg_temp as $$
    select klaviyo.note_findings(p_name, p_sealed_key, p_account_id, p_account_name, p_scopes)
           in ('fits', 'older_pair')
$$;

revoke execute on function
    klaviyo.check_account(text, bytea, text),
    klaviyo.note_findings(text, bytea, text, text, text[])
    from public;
