-- What a parked run met last: said when its retry budget is used up.
alter table klaviyo.run add trouble text;
