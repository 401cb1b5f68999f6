-- Klaviyo keeps property names that begin with $ for itself: some of them set a phone
-- number or a consent. Mappings are checked where they are made, so that ones that are
-- there already go on. The function keeps its name: others call it.
create or replace function klaviyo.check_phone_number(p_draft jsonb) returns void
language plpgsql as $$
begin
    if (p_draft -> 'allow_phone_number') is distinct from 'true'::jsonb
       and p_draft @? '$.fields[*] ? (@.target == "attribute" && @.name == "phone_number")' then
        raise invalid_parameter_value using message = 'phone_number must be allowed by its own word';
    end if;
    if p_draft @? '$.fields[*] ? (@.target == "property" && @.name starts with "$")' then
        raise invalid_parameter_value using message = 'Klaviyo keeps property names that begin with $ for itself';
    end if;
end
$$;
