{#
    What a session must be told before it builds, views or tests: dbt opens a new one for every node. Each server runs its
    own comments (MySQL, MariaDB) and passes over the other's. Ids compare byte by byte, times are UTC, and what does not
    fit a column is an error. ops/mysql.py says the same for Python.
#}
{% macro mysql_session() -%}
    {% call statement('mysql_session') -%}
        set names utf8mb4 collate /*!80017 utf8mb4_0900_bin */ /*M!100600 utf8mb4_nopad_bin */,
            time_zone = '+00:00',
            sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
            lock_wait_timeout = 300,
            group_concat_max_len = 1048576,
            sort_buffer_size = 67108864,
            join_buffer_size = 67108864
            /*M!100600 , join_cache_level = 8, join_buffer_space_limit = 268435456, optimizer_switch = 'join_cache_hashed=on,mrr=on' */
            /*M!100600 , tmp_memory_table_size = 268435456, max_heap_table_size = 268435456 */
            /*!80017 , tmp_table_size = 268435456 */
    {%- endcall %}
    {% call statement('mysql_isolation') -%}
        set session transaction isolation level read committed
    {%- endcall %}
    {% do mysql_hold_build() %}
{%- endmacro %}
