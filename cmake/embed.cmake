# embed_files(TARGET PREFIX FILE...): every FILE becomes the C string constant
# PREFIX_<name without extension>, declared in the generated PREFIX.h. PREFIX_files
# lists all of them with their names, in the order given.
set(EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed_script.cmake)

function(embed_files target prefix)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/generated)
  add_custom_command(
    OUTPUT ${dir}/${prefix}.c ${dir}/${prefix}.h
    COMMAND ${CMAKE_COMMAND} -DPREFIX=${prefix} -DOUT=${dir} "-DFILES=${ARGN}"
            -P ${EMBED_SCRIPT}
    DEPENDS ${ARGN} ${EMBED_SCRIPT}
    VERBATIM)
  target_sources(${target} PRIVATE ${dir}/${prefix}.c ${dir}/${prefix}.h)
  target_include_directories(${target} PRIVATE ${dir})
endfunction()
