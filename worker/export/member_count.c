#include "worker/export/member_count.h"

#include "worker/export/address.h"
#include "worker/klaviyo/import_body.h"

static void look_at(void *opaque, const struct bytes *address)
{
    struct member_count *count = opaque;

    count->members++;
    count->doubtful += !address_is_fine_as_written(address->at, address->n);
}

bool member_count_doubtful(struct member_count *count, const struct members *members, struct db *db,
                           const struct mapping *mapping, struct error *err)
{
    struct member_count counted = { .doubt_counted = true };
    int64_t values_bytes = mapping_room_for_values(mapping, IMPORT_BODY_MAX_ROW_BYTES);

    if (!members_each_address(members, db, values_bytes, look_at, &counted, err))
        return false;
    *count = counted;
    return true;
}
